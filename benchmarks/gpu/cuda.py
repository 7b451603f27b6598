"""What a clock asks of a GPU: graphs, events, and how much its L2 cache holds."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

Call = Callable[[], object]

FLUSHED = 256 << 20  # bytes written to empty a cache; several times the largest
FLUSH_S = 30e-6  # that this takes at least, on any card


class Gpu(Protocol):
    """So much of a device as a clock needs."""

    l2_bytes: int

    def waits(self, call: Call) -> bool:
        """Whether the call waits for the device, which no graph can."""

    def captured(self, calls: Sequence[Call]) -> Call:
        """The launches of all calls as one graph: its replay."""

    def seconds(self, run: Call, repeats: int) -> list[float]:
        """Of each of so many runs, between two events, with the caches emptied before."""


class Cuda:
    """One CUDA device.

    Args:
        device: the one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._flush = torch.empty(FLUSHED, dtype=torch.uint8, device=device)
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        properties = torch.cuda.get_device_properties(device)
        self.l2_bytes = int(getattr(properties, "L2_cache_size", 0)) or 64 << 20

    def waits(self, call: Call) -> bool:
        """See `Gpu.waits`.

        Asked of torch rather than tried: a capture that fails leaves torch's allocator in the middle of it.
        """
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            call()
        except RuntimeError as error:
            if "synchronizing" not in str(error):
                raise
            return True
        finally:
            torch.cuda.set_sync_debug_mode(before)
        return False

    def captured(self, calls: Sequence[Call]) -> Call:
        """See `Gpu.captured`.

        Not through `torch.cuda.graph`, which collects garbage and empties torch's caches each time; here what is
        garbage, a graph perhaps, only must not be found in the middle.
        """
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        gc.disable()
        try:
            with torch.cuda.stream(self._stream):
                graph.capture_begin()
                try:
                    for call in calls:
                        call()
                finally:
                    graph.capture_end()
        finally:
            gc.enable()
        graph.replay()
        torch.cuda.synchronize(self._device)
        return graph.replay

    def seconds(self, run: Call, repeats: int) -> list[float]:
        """See `Gpu.seconds`.

        The device writes the cache over for so long that the host has queued all of a run when its first event is due:
        no gap between two launches is timed that the host made.
        """
        begun = time.perf_counter()
        run()
        flushes = 2 + int(2 * (time.perf_counter() - begun) / FLUSH_S)
        torch.cuda.synchronize(self._device)
        pairs = []
        for _ in range(repeats):
            for _ in range(min(flushes, 200)):
                self._flush.zero_()
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            run()
            end.record()
            pairs.append((begin, end))
        torch.cuda.synchronize(self._device)
        return [begin.elapsed_time(end) / 1e3 for begin, end in pairs]
