"""What the store knows of each adapter, beside where it is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from loraplex_adapters.loading import LoadedAdapter
from loraplex_adapters.package import Package
from loraplex_adapters.report import AdapterEntry, Origin, Tier
from loraplex_adapters.source import AdapterSource

Key = tuple[str, str]  # path and fingerprint


@dataclass(eq=False)
class Known:
    """An adapter that somebody waits for or that is in memory, on the device or the host."""

    source: AdapterSource
    last_used: float = field(default_factory=time.time)
    package: Package | None = None  # inspected, until it loads
    seconds: float = 0.0  # that the inspection took
    origin: Origin = "disk"  # of its latest way in
    loaded: LoadedAdapter | None = None  # once it is in memory

    def outdates(self, source: AdapterSource) -> bool:
        """Whether it is an earlier or later state of what is asked for now."""
        mine = self.source
        same = mine.path == source.path or mine.name == source.name
        return same and (mine.path, mine.fingerprint) != (source.path, source.fingerprint)

    def entry(self, tier: Tier, nbytes: int, in_flight: int = 0, pinned: bool = False) -> AdapterEntry:
        """As it is reported."""
        return AdapterEntry(
            name=self.source.name,
            generation="" if self.loaded is None else self.loaded.generation,
            tier=tier,
            nbytes=nbytes,
            in_flight=in_flight,
            last_used=self.last_used,
            pinned=pinned,
        )
