"""How long a piece of work takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """Work a second: the median of the repeats, and the best. A bound is computed from the best."""

    median: float
    best: float

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.best:.3g}]"


def rate(work: float, run: Callable[[], object], repeats: int = 7, at_most_s: float = 2.0) -> Rate:
    """`work` units over the seconds that `run` takes, after one call to warm up.

    Args:
        work: what one call does, in any unit.
        run: the call.
        repeats: calls timed; fewer, but at least one, once `at_most_s` are spent.
        at_most_s: see `repeats`.
    """
    seconds = _timed(run, repeats, at_most_s)
    return Rate(work / statistics.median(seconds), work / min(seconds))


def fastest(run: Callable[[], object], at_most_s: float) -> float:
    """Seconds of the fastest of as many calls as `at_most_s` hold, after one to warm up: other work can only add."""
    return min(_timed(run, None, at_most_s))


def _timed(run: Callable[[], object], repeats: int | None, at_most_s: float) -> list[float]:
    run()
    seconds: list[float] = []
    while not seconds or (sum(seconds) < at_most_s and (repeats is None or len(seconds) < repeats)):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds
