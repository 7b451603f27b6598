"""A follower's adapters: its parts of what rank 0 keeps, in the same rows of its table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from torch import Tensor

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.errors import AdapterChangedError
from loraplex_adapters.loader import Loader, Outcome
from loraplex_adapters.loading import LoadedAdapter, load
from loraplex_adapters.package import inspect
from loraplex_adapters.shard import Shard
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.terms import Terms
from loraplex_kernels.lora import AdapterTable
from loraplex_server.engine.parallel.kept import KeptParts, Part
from loraplex_server.engine.parallel.landed import landed
from loraplex_server.engine.parallel.messages import WasRead


class FollowerAdapters:
    """Read on threads of its own, put into the table between two steps.

    Args:
        base: the whole model's weights.
        table: this rank's, with as many rows as rank 0's.
        shard: what this rank keeps of each adapter.
        threads: that read.
        say: tells rank 0 what came of a reading; called on those threads.
        allocate: gives uint8 `[n]` on the host for what leaves the device; without it, it is new memory.
    """

    def __init__(
        self,
        base: BaseWeights,
        table: AdapterTable,
        shard: Shard,
        threads: int,
        say: Callable[[WasRead], None],
        allocate: Callable[[int], Tensor] | None = None,
    ) -> None:
        self._base = base
        self._table = table
        self._shard = shard
        self._say = say
        self._lock = threading.Lock()
        self._reading: set[int] = set()
        self._read: dict[int, Part] = {}  # and not seated yet
        self._seated: dict[int, Part] = {}  # by slot
        self._loader = Loader(threads, self._collect)
        self._kept = KeptParts(self._loader, table.device, allocate)

    def read(self, number: int, source: AdapterSource) -> None:
        """Begin to read an adapter."""
        with self._lock:
            self._reading.add(number)
        self._loader.submit(source.name, partial(self._load, source), partial(self._was_read, number, source.name))

    def drop(self, number: int) -> None:
        """Let go of one that was read or lifted, and is not seated."""
        with self._lock:
            self._reading.discard(number)
            self._read.pop(number, None)

    def lift(self, number: int) -> None:
        """Begin to bring one back from the host."""
        with self._lock:
            self._reading.add(number)
        self._kept.lift(number, partial(self._was_read, number))

    def forget(self, number: int) -> None:
        """Let go of one that is kept on the host, or was lifted from there."""
        self._kept.forget(number)
        self.drop(number)

    def seat(self, slot: int, number: int) -> None:
        """Put one that was read or lifted into a row."""
        with self._lock:
            part = self._read.pop(number)
        if slot >= self._table.slots:
            self._table.grow(2 * self._table.slots)  # as rank 0's did: see loraplex_adapters.seating
        self._table.install(slot, part.loaded.layout, part.loaded.buffer)
        self._seated[slot] = part

    def unseat(self, slot: int, number: int = 0) -> None:
        """Empty a row. Args: number: under which its adapter is kept on the host; 0: it is not."""
        self._table.clear(slot)
        part = self._seated.pop(slot)
        if number:
            self._kept.put(number, part)

    def terms(self, slot: int) -> Terms:
        """What the adapter in a row does beyond low rank."""
        return self._seated[slot].loaded.terms

    def close(self) -> None:
        """Stop the threads."""
        self._loader.close()

    def _load(self, source: AdapterSource) -> LoadedAdapter:
        """This rank's part, on its device."""
        table = self._table
        package = inspect(source, self._base.shape, table.dtype, self._base, int8=table.int8, shard=self._shard)
        return landed(load(package, table.device, self._base))

    def _collect(self) -> None:
        self._loader.collect()

    def _was_read(self, number: int, name: str, outcome: Outcome[LoadedAdapter]) -> None:
        loaded = outcome.value
        with self._lock:
            if loaded is not None and number in self._reading:  # else it was dropped meanwhile
                self._read[number] = Part(name, loaded)
            self._reading.discard(number)
        if loaded is None:
            changed = isinstance(outcome.error, AdapterChangedError)
            self._say(WasRead(number, error=str(outcome.error), changed=changed))
            return
        self._say(WasRead(number, loaded.generation))
