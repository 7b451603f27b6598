"""What is said of adapters: the catalogue's word, the engine's, and what became of them last."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loraplex_adapters.errors import AdapterError, UnknownAdapterError
from loraplex_adapters.fingerprint import FILES
from loraplex_adapters.registry import CatalogEntry
from loraplex_adapters.report import AdapterEntry
from loraplex_adapters.source import AdapterSource
from loraplex_server.api.access.visible import Visible
from loraplex_server.api.adapters.adapter_outcomes import AdapterOutcomes

SHORT = 12  # characters of a generation that people compare
# Of several versions in memory, the one that new requests use is most likely the one that is furthest.
_FURTHEST = ("device", "host", "loading", "waiting")


class AdapterView:
    """One look at all adapters.

    Args:
        catalog: as the one who asks may see it.
        entries: the engine's, of all.
        outcomes: of earlier wishes.
        places: whether to say where adapters come from: not to everybody who may ask.
    """

    def __init__(
        self, catalog: Visible, entries: Iterable[AdapterEntry], outcomes: AdapterOutcomes, *, places: bool
    ) -> None:
        self._catalog = catalog
        self._outcomes = outcomes
        self._places = places
        self._by_name: dict[str, list[AdapterEntry]] = defaultdict(list)
        self._by_generation: dict[str, list[AdapterEntry]] = defaultdict(list)
        for entry in entries:
            if not catalog.caller.may_use(entry.name):
                continue  # even of the same files: what others do with them is not told
            self._by_name[entry.name].append(entry)
            if entry.generation:
                self._by_generation[entry.generation].append(entry)

    async def all(self) -> list[dict[str, Any]]:
        """Every adapter, by name; aliases are told with what they stand for."""
        names = await asyncio.to_thread(self._catalog.names)  # the folder may be large, and far away
        aliases = self._catalog.aliases()
        found = []
        for name in names:
            await asyncio.sleep(0)  # each is looked at on the disk, by the one who serves all
            if name not in aliases and (adapter := self._one_or_none(name)) is not None:
                found.append(adapter)
        return found

    def _one_or_none(self, name: str) -> dict[str, Any] | None:
        try:
            return self.one(name)
        except UnknownAdapterError:  # gone since it was listed
            return None

    def one(self, name: str) -> dict[str, Any]:
        """One adapter, also by an alias. Raises UnknownAdapterError."""
        name = self._catalog.canonical(name)
        known = self._catalog.describe(name)
        source, generation = self._as_it_is(known)
        versions = self._versions(name, source, generation)
        now = versions[0] if versions else None
        error = self._outcomes.error(name) or known.last_error
        shown = generation or (now.generation if now is not None else "") or None
        return {
            "name": name,
            "object": "adapter",
            "aliases": list(known.aliases),
            "source": self._place(known),
            "pinned": known.pinned,
            "state": _state(known, now, error),
            "tier": _tier(known, now),
            "generation": shown,
            "generation_short": shown[:SHORT] if shown else None,
            "disk_bytes": None if source is None else _disk_bytes(source),
            "memory_bytes": now.nbytes if now is not None and now.nbytes else None,
            "in_flight": sum(version.in_flight for version in versions),
            "last_used": max((version.last_used for version in versions), default=None),
            "created": known.created,
            "error": error,
        }

    def _as_it_is(self, known: CatalogEntry) -> tuple[AdapterSource | None, str | None]:
        """Its files, and their generation if they were read. Of a remote one, as it was served last: a copy in the disk
        cache may have to be read whole before it can be told."""
        served, generation = self._outcomes.served(known.name) or (None, None)
        if "://" in known.source:
            return (served if known.on_disk else None), generation
        source = self._source(known.name)
        return source, generation if source is not None and source == served else None

    def _source(self, name: str) -> AdapterSource | None:
        try:
            return self._catalog.resolve(name)
        except AdapterError:  # what is wrong with it, the next request is told
            return None

    def _versions(self, name: str, source: AdapterSource | None, generation: str | None) -> list[AdapterEntry]:
        """Those of this name, and of other names for the same files; the current one first."""
        found = list(self._by_name.get(name, ()))
        if source is not None and generation is not None:
            others = (entry for entry in self._by_generation.get(generation, ()) if entry.name != name)
            found += [entry for entry in others if self._path(entry.name) == source.path]
        return sorted(found, key=lambda e: (e.generation != (generation or e.generation), _FURTHEST.index(e.tier)))

    def _path(self, name: str) -> str | None:
        served = self._outcomes.served(name)
        return None if served is None else served[0].path

    def _place(self, known: CatalogEntry) -> Mapping[str, str]:
        scheme, mark, _ = known.source.partition("://")
        place = {"kind": "catalog" if known.kind == "folder" else scheme if mark else "folder"}
        return {**place, "location": known.source, "revision": known.revision} if self._places else place


def _state(known: CatalogEntry, now: AdapterEntry | None, error: str | None) -> str:
    if now is not None:
        return "loading" if now.tier == "waiting" else now.tier
    if error is not None:
        return "error"
    return "on_disk" if known.on_disk else "registered"


def _tier(known: CatalogEntry, now: AdapterEntry | None) -> str:
    if now is not None and now.tier in ("device", "host"):
        return now.tier
    return "disk" if known.on_disk else "remote"


def _disk_bytes(source: AdapterSource) -> int | None:
    sizes = [_size(os.path.join(source.path, file)) for file in FILES]
    return sum(size for size in sizes if size is not None)


def _size(path: str) -> int | None:
    try:
        return os.path.getsize(path)
    except OSError:
        return None


def page(
    adapters: Sequence[dict[str, Any]], states: Sequence[str], after: str | None, limit: int | None
) -> tuple[list[dict[str, Any]], str | None]:
    """A part of a listing, and the name to go on after; None where nothing is left."""
    chosen = [
        adapter
        for adapter in adapters
        if (not states or adapter["state"] in states) and (after is None or adapter["name"] > after)
    ]
    if limit is None or len(chosen) <= limit:
        return chosen, None
    return chosen[:limit], chosen[limit - 1]["name"]
