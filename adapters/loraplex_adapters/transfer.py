"""Between host memory and the device, without the step loop waiting."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor


def host_buffer(nbytes: int, device: torch.device) -> Tensor:
    """Uint8 `[nbytes]` to fill on the host: the adapter's own memory on a CPU, pinned for the copy on a GPU.

    For a single one. Where adapters come and go, buffers of `PinnedMemory` are not pinned anew for each.
    """
    return torch.empty(nbytes, dtype=torch.uint8, pin_memory=device.type == "cuda")


@dataclass(frozen=True)
class Transfer:
    """A copy to the device that may still be running."""

    buffer: Tensor  # uint8 [nbytes], on the device
    done: Callable[[], bool]  # asks, never waits; until it says yes, nothing may read the buffer
    host: Tensor  # must keep its content as long as the copy runs and somebody wants the buffer

    @classmethod
    def landed(cls, buffer: Tensor) -> Transfer:
        """One that is over: it holds on to nothing but the buffer."""
        return cls(buffer, _at_once, buffer)


def send(host: Tensor, device: torch.device) -> Transfer:
    """Start the one copy that an adapter takes.

    The buffer comes from the pool of the device's default stream, the one that the model computes on, so that freeing
    it is ordered behind the kernels that read it. The copy runs on a stream of its own, beside them. It begins behind
    what the default stream has been given until now, which may still read what the memory held before; and should the
    buffer be freed while it runs, `record_stream` keeps the memory until it is over.

    Nothing waits here where the host's memory is pinned. From pageable memory the calling thread does, for the copy.
    """
    if device.type == "cpu":
        return Transfer.landed(host)
    with torch.cuda.stream(torch.cuda.default_stream(device)):
        buffer = torch.empty(host.numel(), dtype=torch.uint8, device=device)
    stream = _streams(device)[0]
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        stream.wait_stream(torch.cuda.default_stream(device))
        buffer.copy_(host, non_blocking=True)
        event.record(stream)
    buffer.record_stream(stream)
    return Transfer(buffer, event.query, host)


def receive(buffer: Tensor, allocate: Callable[[int], Tensor] | None = None) -> Tensor:
    """Copy a buffer from the device to host memory, beside the kernels that may still read it; waits.

    Args:
        buffer: uint8 `[n]` whose own transfer is done; the caller keeps it until this returns.
        allocate: gives uint8 `[n]` on the host, pinned best; without it, it is pinned now.
    """
    host = host_buffer(buffer.numel(), buffer.device) if allocate is None else allocate(buffer.numel())
    stream = _streams(buffer.device)[1]
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        host.copy_(buffer, non_blocking=True)
        event.record(stream)
    event.synchronize()  # not the stream, which other threads may have given more to do
    return host


def own_stream(device: torch.device) -> AbstractContextManager[object]:
    """While it is entered, what the calling thread does on the device waits for nothing but itself.

    For loaders, which read the base's weights: these never change, so nothing of the model's has to be waited for. On
    the default stream each small copy to the host would wait for the steps that were launched before it.
    """
    if device.type == "cpu":
        return nullcontext()
    return torch.cuda.stream(_stream_of(threading.get_ident(), device))


@functools.cache
def _stream_of(thread: int, device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@functools.cache
def _streams(device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
    """To the device and back: the two directions are copied side by side, and no more than one copy of each is."""
    return torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _at_once() -> bool:
    return True
