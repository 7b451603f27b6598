"""How long work on a device takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

FLUSHED = 256 << 20  # bytes written between two calls, several times the largest L2 cache
COPIED = 1 << 30  # bytes of the copy that the bandwidth is measured by


@dataclass(frozen=True)
class Time:
    """Of one call: the median of many, and how."""

    seconds: float
    graphed: bool  # replayed from a CUDA graph: without it the host's launches are part of a short call

    def __str__(self) -> str:
        return f"{self.seconds * 1e6:.1f}{'' if self.graphed else '*'}"


class Clock:
    """Times calls on one device, by its events where it is a GPU.

    Args:
        device: where the work is done.
        repeats: calls that the median is of.
    """

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device = device
        self._repeats = repeats
        self._cuda = device.type == "cuda"
        self._flush = torch.empty(FLUSHED if self._cuda else 1, dtype=torch.uint8, device=device)

    def time(self, call: Callable[[], object]) -> Time:
        """The median, after the first calls, with nothing of what the call reads in the L2 cache."""
        for _ in range(3):
            call()  # compiles, and fills what is filled once
        if not self._cuda:
            return Time(statistics.median(_seconds(call) for _ in range(self._repeats)), graphed=False)
        replay = _captured(call)
        run = call if replay is None else replay
        return Time(statistics.median(self._events(run)), graphed=replay is not None)

    def copy_bytes_per_second(self) -> float:
        """Bytes read and bytes written, together, of a copy that no cache holds."""
        source = torch.randint(0, 256, (COPIED if self._cuda else 1 << 24,), dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        return 2 * source.numel() / self.time(lambda: target.copy_(source)).seconds

    def _events(self, run: Callable[[], object]) -> list[float]:
        pairs = []
        for _ in range(self._repeats):
            self._flush.zero_()  # the launches that follow are queued while this runs, so that no gap is timed
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            pairs.append((begin, end))
        torch.cuda.synchronize(self.device)
        return [begin.elapsed_time(end) / 1e3 for begin, end in pairs]


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _captured(call: Callable[[], object]) -> Callable[[], object] | None:
    """The call's launches as a graph; None where it waits for the device, which no graph can."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            call()
    except RuntimeError:  # torch says "operation not permitted when stream is capturing", in several ways
        torch.cuda.synchronize()
        return None
    graph.replay()
    torch.cuda.synchronize()
    return graph.replay
