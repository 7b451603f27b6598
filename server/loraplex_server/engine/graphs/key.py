"""What a graph was captured for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

# A graph launches programs for its rank, and those past an adapter's own return at once. So there are a few classes;
# most adapters are in the first.
RANKS = (16, 64, 256)
AT_START = (0, RANKS[0])  # of the graphs that are captured before there are requests
# Graphs of all sizes that are kept besides: of higher ranks, and of adapters with DoRA magnitudes. Memory is set aside
# for so many; a server that needs all of the five kinds at once runs the steps for which none is left.
LATER = 2
STEP = 8  # between sizes from 8 on: a step runs with at most 7 rows of padding


@dataclass(frozen=True)
class GraphKey:
    """The largest step that a graph serves."""

    rows: int
    rank: int = 0  # of any adapter of the step; 0: no adapters at all
    magnitude: bool = False  # adapters may have DoRA magnitudes


def most_graphs(sizes: Sequence[int]) -> int:
    """That are kept at a time, for so many sizes."""
    return (len(AT_START) + LATER) * len(sizes)


def sizes_up_to(most: int) -> tuple[int, ...]:
    """Rows of the graphs for steps of up to `most` rows: 1, 2, 4, 8, 16, 24, ... and `most` itself.

    Raises:
        ValueError: it is not positive.
    """
    if most < 1:
        raise ValueError(f"a step has at least 1 row, not {most}")
    return tuple(sorted({size for size in (1, 2, 4, *range(STEP, most, STEP), most) if size <= most}))


def smallest(sizes: Sequence[int], wanted: int) -> int | None:
    """The first of the ascending sizes that is large enough; None where none is."""
    place = bisect_left(sizes, wanted)
    return sizes[place] if place < len(sizes) else None
