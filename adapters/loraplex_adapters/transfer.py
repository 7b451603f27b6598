"""Between host memory and the device, without the step loop waiting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def host_buffer(nbytes: int, device: torch.device) -> Tensor:
    """Uint8 `[nbytes]` to fill on the host: the adapter's own memory on a CPU, pinned for the copy on a GPU."""
    return torch.empty(nbytes, dtype=torch.uint8, pin_memory=device.type == "cuda")


@dataclass(frozen=True)
class Transfer:
    """A copy to the device that may still be running."""

    buffer: Tensor  # uint8 [nbytes], on the device
    done: Callable[[], bool]  # asks, never waits; until it says yes, nothing may read the buffer
    host: Tensor  # must live as long as the copy runs

    @classmethod
    def landed(cls, buffer: Tensor) -> Transfer:
        """One that is over: it holds on to nothing but the buffer."""
        return cls(buffer, _at_once, buffer)


def send(host: Tensor, device: torch.device) -> Transfer:
    """Start the one copy that an adapter takes.

    The buffer comes from the pool of the device's default stream, the one that the model computes on, so that freeing
    it is ordered behind the kernels that read it. The copy runs on a stream of its own, beside them.
    """
    if device.type == "cpu":
        return Transfer.landed(host)
    buffer = torch.empty(host.numel(), dtype=torch.uint8, device=device)
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.default_stream(device))  # what the memory held before may still be read
    with torch.cuda.stream(stream):
        buffer.copy_(host, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(stream)
    buffer.record_stream(stream)
    return Transfer(buffer, event.query, host)


def receive(buffer: Tensor) -> Tensor:
    """Copy a buffer from the device to pinned host memory, beside the kernels that may still read it; waits."""
    host = host_buffer(buffer.numel(), buffer.device)
    stream = torch.cuda.Stream(buffer.device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        host.copy_(buffer, non_blocking=True)
    stream.synchronize()
    return host


def _at_once() -> bool:
    return True
