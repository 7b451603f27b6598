"""What is done with an adapter's bytes, off the thread that runs the steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.errors import AdapterError
from loraplex_adapters.loader import Loader, Outcome
from loraplex_adapters.loading import LoadedAdapter, load
from loraplex_adapters.moving import to_device, to_host
from loraplex_adapters.package import Package, inspect
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.steady import steady
from loraplex_kernels.lora import AdapterTable


class Intake:
    """Disk to device, device to host, host to device. Each `done` is called by `collect`, or at once on a CPU.

    Args:
        base: the model that the adapters adapt.
        table: that they are made for: its device, its dtype, and whether it holds int8.
        loader: whose threads do the work; closed with this.
        allocate: gives what adapters are read into and kept in on the host; without it, new memory.
    """

    def __init__(
        self,
        base: BaseWeights,
        table: AdapterTable,
        loader: Loader,
        allocate: Callable[[int], Tensor] | None = None,
    ) -> None:
        self._base = base
        self._device = table.device
        self._inspect = partial(inspect, base=base.shape, dtype=table.dtype, int8=table.int8, weights=base)
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
        self._loader.submit(source.name, partial(steady, partial(self._inspect, source)), done)

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
        self._loader.submit(source.name, partial(steady, partial(self._read, source, package, room)), done)

    def lift(self, name: str, loaded: LoadedAdapter, done: Callable[[Outcome[LoadedAdapter]], None]) -> None:
        """From host memory to the device."""
        self._move(name, partial(to_device, loaded, self._device), done)

    def shelve(self, name: str, loaded: LoadedAdapter, done: Callable[[Outcome[LoadedAdapter]], None]) -> None:
        """From the device to host memory."""
        self._move(name, partial(to_host, loaded, self._allocate), done)

    def discard(self, holder: list[Any]) -> None:
        """Let go of buffers, and all else that a list holds alone: for large ones it takes milliseconds."""
        if holder:
            self._loader.discard(holder.clear)

    def _move(
        self, name: str, work: Callable[[], LoadedAdapter], done: Callable[[Outcome[LoadedAdapter]], None]
    ) -> None:
        if self._device.type == "cpu":  # nothing is copied
            done(Outcome(work(), None, 0.0))
        else:
            self._loader.submit(name, work, done)

    def _read(self, source: AdapterSource, package: Package | None, room: int) -> LoadedAdapter:
        """There is no package after an eviction, and an old one where the files were replaced."""
        if package is None or not package.unchanged():
            package = self._inspect(source)
        if package.nbytes > room:
            raise AdapterError(
                f"adapter '{source.name}' was replaced by a larger one while it waited for room; send the request again"
            )
        return load(package, self._device, self._base, self._allocate)
