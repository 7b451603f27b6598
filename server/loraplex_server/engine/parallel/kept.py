"""A follower's parts of adapters that left its device, on the host: what is kept is as rank 0 says."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from loraplex_adapters.errors import AdapterError
from loraplex_adapters.loader import Loader, Outcome
from loraplex_adapters.loading import LoadedAdapter
from loraplex_adapters.moving import to_device, to_host
from loraplex_server.engine.parallel.landed import landed


class Part(NamedTuple):
    """This rank's part of an adapter, and the adapter's name for messages."""

    name: str
    loaded: LoadedAdapter


class KeptParts:
    """By number. From one thread; copies are made on the loader's.

    Args:
        loader: collects by itself.
        device: that they leave and come back to.
        allocate: gives uint8 `[n]` on the host; without it, it is new memory.
    """

    def __init__(self, loader: Loader, device: torch.device, allocate: Callable[[int], Tensor] | None) -> None:
        self._loader = loader
        self._device = device
        self._allocate = allocate
        self._kept: dict[int, tuple[str, Future[LoadedAdapter]]] = {}

    def put(self, number: int, part: Part) -> None:
        """Begin to keep one."""
        coming: Future[LoadedAdapter] = Future()
        self._kept[number] = part.name, coming
        self._loader.submit(part.name, partial(to_host, part.loaded, self._allocate), partial(_settle, coming))

    def forget(self, number: int) -> None:
        """Let go of one, if it is here."""
        self._kept.pop(number, None)

    def lift(self, number: int, done: Callable[[str, Outcome[LoadedAdapter]], None]) -> None:
        """Take one out, to the device.

        Args:
            number: of one that is kept.
            done: is given its name and what came of it, on a thread of the loader.
        """
        name, coming = self._kept.pop(number)
        # The thread waits for no job behind its own: the copy to the host was submitted before.
        self._loader.submit(name, partial(self._lift, coming), partial(done, name))

    def _lift(self, coming: Future[LoadedAdapter]) -> LoadedAdapter:
        return landed(to_device(coming.result(), self._device))


def _settle(coming: Future[LoadedAdapter], outcome: Outcome[LoadedAdapter]) -> None:
    if outcome.value is None:
        coming.set_exception(outcome.error or AdapterError("an adapter could not be kept on the host"))
    else:
        coming.set_result(outcome.value)
