"""The host tier at work: adapters put there when they leave the device, and taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from loraplex_adapters.host_tier import HostTier
from loraplex_adapters.intake import Intake
from loraplex_adapters.known import Key, Known
from loraplex_adapters.loader import Outcome
from loraplex_adapters.loading import LoadedAdapter
from loraplex_adapters.peers import NOBODY, Peers
from loraplex_adapters.source import AdapterSource


class Shelf:
    """Args: tier: decides what is kept. intake: copies, and frees what is not kept. peers: keep the rest of it."""

    def __init__(self, tier: HostTier[Key, Known], intake: Intake, peers: Peers = NOBODY) -> None:
        self.tier = tier
        self.hits = 0
        self.loads = 0
        self._intake = intake
        self._peers = peers
        self._coming: dict[Key, Known] = {}  # the copy to the host runs
        self._aside: dict[Key, Known] = {}  # about to be lifted

    def reclaim(self, key: Key) -> int | None:
        """Somebody asks for an adapter: its size if it is here, else it will not be, even if it was on its way."""
        self._coming.pop(key, None)
        size = self.tier.nbytes(key)
        self.hits += size is not None
        return size

    def set_aside(self, keys: Iterable[Key]) -> None:
        """Take out what will be lifted next, before what leaves the device for it can displace it here."""
        self._aside.update((key, self.tier.take(key)) for key in keys if key in self.tier)

    def put(self, key: Key, known: Known) -> int:
        """Keep an adapter that leaves the device, if it is worth it.

        Returns:
            The number under which the peers keep it from now on; 0: they do not.
        """
        loaded = known.loaded
        if loaded is None or self.tier.victims(key, loaded.buffer.numel()) is None:
            return 0
        coming = self._coming[key] = Known(known.source, known.last_used)
        self._intake.shelve(known.source.name, loaded, partial(self._arrived, key, coming, loaded.number))
        return loaded.number

    def lift(self, key: Key, done: Callable[[Outcome[LoadedAdapter]], None]) -> bool:
        """Bring an adapter to the device, if it was set aside, or has just come."""
        self._coming.pop(key, None)
        self.set_aside([key])
        known = self._aside.pop(key, None)
        if known is None or known.loaded is None:
            return False
        self.loads += 1
        self._intake.lift(known.source.name, known.loaded, done)
        return True

    def outdate(self, source: AdapterSource) -> None:
        """Let go of other states of what is asked for now."""
        for key in [key for key, known in self._coming.items() if known.outdates(source)]:
            del self._coming[key]
        for key in [key for key, known in self.tier.items() if known.outdates(source)]:
            self._discard([self.tier.take(key)])

    def items(self) -> Iterator[tuple[Key, Known]]:
        """All that is here."""
        return self.tier.items()

    def clear(self) -> None:
        """Let go of everything."""
        self._coming.clear()
        self._aside.clear()
        self.tier.clear()

    def check_integrity(self) -> None:
        """Raises RuntimeError where bytes disagree."""
        self.tier.check_integrity()
        if self._aside:
            raise RuntimeError(f"{sorted(self._aside)} were set aside and never lifted")
        held = sum(known.loaded.buffer.numel() for _, known in self.items() if known.loaded is not None)
        if held != self.tier.used:
            raise RuntimeError(f"the host tier counts {self.tier.used} bytes, its buffers have {held}")

    def _arrived(self, key: Key, known: Known, number: int, outcome: Outcome[LoadedAdapter]) -> None:
        wanted = self._coming.get(key) is known  # else somebody asked for it, or for its successor, meanwhile
        if wanted:
            del self._coming[key]
        if not wanted or outcome.value is None:  # without a value the loader logged why; it is read from disk next time
            self._peers.forget(number)
            return
        known.loaded = outcome.value
        self._discard(self.tier.put(key, known, outcome.value.buffer.numel()))

    def _discard(self, kept: list[Known]) -> None:
        for number in [known.loaded.number for known in kept if known.loaded is not None]:
            self._peers.forget(number)
        self._intake.discard(kept)
