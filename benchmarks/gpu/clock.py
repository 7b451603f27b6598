"""How long work on a device takes."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from gpu.cuda import Call, Cuda, Gpu

COPIED = 1 << 30  # bytes of the copy that the bandwidth is measured by
CALLS = 20  # of one graph at least: what a replay takes by itself is divided by them
CACHES = 4  # L2 caches that the inputs of a graph's calls fill
LONGEST_S = 0.5  # that one figure is measured for; long calls are repeated less often
FEWEST = 5


@dataclass(frozen=True)
class Time:
    """Of one call: the median of many, and how."""

    seconds: float
    graphed: bool  # replayed from a CUDA graph: without it the host's launches are part of a short call

    def __str__(self) -> str:
        return f"{self.seconds * 1e6:.1f}{'' if self.graphed else '*'}"


@dataclass(frozen=True)
class Launches:
    """What launching takes by itself, which no kernel can be faster than."""

    in_graph_s: float  # one more empty launch in a graph: part of every launch's time
    replay_s: float  # of a graph with one empty launch: a figure contains at most 1/CALLS of it


class Clock:
    """Times calls on one device, by its events where it is a GPU.

    There a graph of `CALLS` calls or more is replayed, between two events, and the time divided by the calls: one short
    launch alone would be lost in what starting a graph takes. So that a call finds nothing of what it reads in the L2
    cache, as in a step of the model, where other layers come between, the calls take turns on several sets of inputs,
    as many as `sets` says: together `CACHES` times as large as the cache, so that even one which replaces at random
    still holds but 2 % of what comes next. (A kernel that empties the cache between the calls would have to be timed
    and subtracted: a small figure would be the difference of two large ones.) What remains in a figure is a launch in
    a graph, as in the served step, and up to 1/`CALLS` of a replay's own start; `launches` measures both.

    What waits for the device, which no graph can, is launched by the host, after the cache was overwritten.

    Args:
        device: where the work is done.
        repeats: replays that the median is of.
        gpu: the device; None: `device`, where it is a GPU.
    """

    def __init__(self, device: torch.device, repeats: int, gpu: Gpu | None = None) -> None:
        self.device = device
        self._repeats = repeats
        self._gpu: Gpu | None = Cuda(device) if gpu is None and device.type == "cuda" else gpu

    def sets(self, nbytes: int) -> int:
        """How many sets of inputs of so many bytes are to take turns."""
        return 1 if self._gpu is None else max(1, -(-CACHES * self._gpu.l2_bytes // max(1, nbytes)))

    def time(self, *calls: Call) -> Time:
        """The median time of one call, after the first.

        Args:
            calls: the same work, each on a set of inputs of its own.
        """
        for call in (*calls[:1] * 2, *calls):
            call()  # compiles, and fills what is filled once
        if self._gpu is None:
            return Time(statistics.median(_seconds(calls[0]) for _ in range(self._repeats)), graphed=False)
        if self._gpu.waits(calls[0]):
            return Time(self._median(self._gpu, calls[0]), graphed=False)
        rounds = -(-CALLS // len(calls))
        replay = self._gpu.captured(calls * rounds)
        return Time(self._median(self._gpu, replay) / (rounds * len(calls)), graphed=True)

    def copy_bytes_per_second(self) -> float:
        """Bytes read and bytes written, together, of a copy that no cache holds."""
        source = torch.randint(0, 256, (COPIED if self._gpu else 1 << 24,), dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        return 2 * source.numel() / self.time(lambda: target.copy_(source)).seconds

    def launches(self) -> Launches | None:
        """None where there are no graphs."""
        if self._gpu is None:
            return None
        one = torch.zeros(1, device=self.device)

        def nothing() -> None:
            one.add_(1)  # a kernel, where setting to zero would be a node of another kind

        nothing()
        replay = self._median(self._gpu, self._gpu.captured([nothing]))
        return Launches(self.time(nothing).seconds, replay)

    def _median(self, gpu: Gpu, run: Call) -> float:
        first = statistics.median(gpu.seconds(run, 3))
        repeats = min(self._repeats, max(FEWEST, int(LONGEST_S / max(first, 1e-9))))
        return statistics.median(gpu.seconds(run, repeats))


def _seconds(call: Call) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
