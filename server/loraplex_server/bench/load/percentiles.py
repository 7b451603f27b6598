"""A distribution of times in four numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Milliseconds; percentiles interpolate linearly between the two nearest values."""

    mean: float
    p50: float
    p90: float
    p99: float


def latency(seconds: Sequence[float]) -> Latency | None:
    """The mean and percentiles of some times given in seconds; None where there are none."""
    if not seconds:
        return None
    ms = np.asarray(seconds) * 1e3
    p50, p90, p99 = np.percentile(ms, [50, 90, 99])
    return Latency(*(round(float(value), 3) for value in (ms.mean(), p50, p90, p99)))
