"""How often values fell below each of some limits."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate

from loraplex_server.metrics.series.series import Series, label_text, number_text


class Histogram(Series):
    """Counts and the sum of what was observed.

    Args:
        name, labels: as Series'.
        limits: the buckets' upper ones, which belong to them, in order; the one without end is added.
    """

    __slots__ = ("_counts", "_heads", "_limits", "_sum", "_sum_head")

    def __init__(self, name: str, labels: Mapping[str, str], limits: Sequence[float]) -> None:
        super().__init__(name, labels)
        self._limits = tuple(limits)
        self._counts = [0] * (len(limits) + 1)
        self._sum = 0.0
        ends = [*map(number_text, limits), "+Inf"]
        self._heads = [f"{name}_bucket{label_text({**labels, 'le': end})} " for end in ends]
        self._heads.append(f"{name}_count{label_text(labels)} ")
        self._sum_head = f"{name}_sum{label_text(labels)} "

    def observe(self, value: float, times: int = 1) -> None:
        """Take a finite value, as often as it was seen."""
        self._counts[bisect_left(self._limits, value)] += times
        self._sum += value * times
        self._lines = None

    def _write(self) -> str:
        below = list(accumulate(self._counts))
        lines = [f"{head}{number_text(count)}\n" for head, count in zip(self._heads, [*below, below[-1]], strict=True)]
        return "".join(lines) + f"{self._sum_head}{number_text(self._sum)}\n"
