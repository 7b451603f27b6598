"""The adapters that a load on an engine asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.fingerprint import CONFIG_FILE
from loraplex_adapters.source import AdapterSource


@dataclass(frozen=True)
class Adapters:
    """What the base model and the adapters are called, and where these are."""

    base: str
    adapters: tuple[str, ...]
    sources: tuple[AdapterSource, ...]

    def name(self, adapter: int | None) -> str:
        """See `workload.Names`."""
        return self.base if adapter is None else self.adapters[adapter]

    @property
    def rank(self) -> int:
        """The mean of their `r`, rounded; 0 without adapters. Bounds take all to be alike."""
        ranks = [_rank(Path(source.path)) for source in self.sources]
        return round(sum(ranks) / len(ranks)) if ranks else 0


def find_adapters(base: str, folder: Path | None, at_most: int | None) -> Adapters:
    """Those in a folder, sorted by name.

    Args:
        base: the base model's name.
        folder: holds them; None: there are none.
        at_most: only so many.

    Raises:
        ValueError: there are fewer than `at_most`.
    """
    catalog = Catalog(folder)
    names: Sequence[str] = catalog.names()
    if at_most is not None:
        if len(names) < at_most:
            raise ValueError(f"--num-adapters {at_most}, but there are only {len(names)} in {folder}")
        names = names[:at_most]
    return Adapters(base, tuple(names), tuple(catalog.resolve(name) for name in names))


def _rank(folder: Path) -> int:
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    return int(config.get("r", 0))
