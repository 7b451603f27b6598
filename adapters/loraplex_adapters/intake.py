"""What is done with an adapter's bytes, off the thread that runs the steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from torch import Tensor

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.errors import AdapterError
from loraplex_adapters.loader import Loader, Outcome
from loraplex_adapters.loading import LoadedAdapter, load
from loraplex_adapters.moving import to_device, to_host
from loraplex_adapters.package import Package, inspect
from loraplex_adapters.peers import NOBODY, Peers, Reading
from loraplex_adapters.shard import Shard
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.steady import steady
from loraplex_adapters.transfer import own_stream
from loraplex_kernels.lora import AdapterTable

T = TypeVar("T")


class Intake:
    """Disk to device, device to host, host to device. Each `done` is called by `collect`, or at once on a CPU.

    Args:
        base: the model that the adapters adapt.
        table: that they are made for: its device, its dtype, and whether it holds int8.
        loader: whose threads do the work; closed with this.
        allocate: gives what adapters are read into and kept in on the host; without it, new memory.
        shard: what of each adapter is kept here; None: all of it.
        peers: read the rest at the same time.
    """

    def __init__(
        self,
        base: BaseWeights,
        table: AdapterTable,
        loader: Loader,
        allocate: Callable[[int], Tensor] | None = None,
        shard: Shard | None = None,
        peers: Peers = NOBODY,
    ) -> None:
        self._base = base
        self._device = table.device
        self._inspect = partial(inspect, base=base.shape, dtype=table.dtype, int8=table.int8, weights=base, shard=shard)
        self._whole = shard is None
        self._peers = peers
        self._loader = loader
        self._allocate = allocate

    @property
    def pending(self) -> bool:
        """There is something to collect."""
        return self._loader.pending

    def collect(self) -> None:
        """Tell what became of the work that ended; never waits."""
        self._loader.collect()

    def close(self) -> None:
        """Stop the threads."""
        self._loader.close()

    def inspect(self, source: AdapterSource, done: Callable[[Outcome[Package]], None]) -> None:
        """Check an adapter's config and header."""
        self._loader.submit(source.name, partial(self._steady, partial(self._inspect, source)), done)

    def read(
        self,
        source: AdapterSource,
        package: Package | None,
        room: int,
        done: Callable[[Outcome[LoadedAdapter]], None],
    ) -> None:
        """Read the weights, from disk to the device.

        Args:
            source: of the adapter.
            package: that was inspected; none where this was not the first load.
            room: bytes that it may take.
            done: gets it, or the error.
        """
        self._loader.submit(source.name, partial(self._steady, partial(self._read, source, package, room)), done)

    def lift(self, name: str, loaded: LoadedAdapter, done: Callable[[Outcome[LoadedAdapter]], None]) -> None:
        """From host memory to the device. Where there are peers never at once, for they may take their time."""
        work = partial(self._lift, name, loaded)
        if self._whole:
            self._move(name, work, done)
        else:
            self._loader.submit(name, work, done)

    def shelve(self, name: str, loaded: LoadedAdapter, done: Callable[[Outcome[LoadedAdapter]], None]) -> None:
        """From the device to host memory."""
        self._move(name, partial(to_host, loaded, self._allocate), done)

    def discard(self, holder: list[Any]) -> None:
        """Let go of buffers, and all else that a list holds alone: for large ones it takes milliseconds."""
        if holder:
            self._loader.discard(holder.clear)

    def _steady(self, work: Callable[[], T]) -> T:
        with own_stream(self._device):
            return steady(work)

    def _move(
        self, name: str, work: Callable[[], LoadedAdapter], done: Callable[[Outcome[LoadedAdapter]], None]
    ) -> None:
        if self._device.type == "cpu":  # nothing is copied
            done(Outcome(work(), None, 0.0))
        else:
            self._loader.submit(name, work, done)

    def _lift(self, name: str, loaded: LoadedAdapter) -> LoadedAdapter:
        reading = self._peers.lift(name, loaded.number)
        return self._with_peers(reading, partial(to_device, loaded, self._device))

    def _read(self, source: AdapterSource, package: Package | None, room: int) -> LoadedAdapter:
        """There is no package after an eviction, and an old one where the files were replaced."""
        if package is None or not package.unchanged():
            package = self._inspect(source)
        if package.nbytes > room:
            raise AdapterError(
                f"adapter '{source.name}' was replaced by a larger one while it waited for room; send the request again"
            )
        reading = self._peers.read(source)
        loaded = self._with_peers(reading, partial(load, package, self._device, self._base, self._allocate))
        return replace(loaded, number=reading.number)

    def _with_peers(self, reading: Reading, work: Callable[[], LoadedAdapter]) -> LoadedAdapter:
        """All have it, or none."""
        try:
            loaded = work()
        except BaseException:
            reading.give_up()
            raise
        reading.finish(loaded.generation)
        return loaded
