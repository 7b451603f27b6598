"""What no policy can beat."""

from __future__ import annotations

from collections.abc import Sequence


def most_hits(trace: Sequence[int], sizes: Sequence[int], budget: int) -> float:
    """An upper bound on the share of hits, with sizes: a relaxation of the offline optimum.

    Keeping an adapter from one use to the next costs its bytes times the requests between. The whole trace has the
    budget times its length of that; the cheapest intervals are taken until it is spent, as if bytes could be saved at
    one time and spent at another. It holds for requests served in their order: one that waits for room can let a few
    more of its kind hit.

    Source: the resource relaxation of Berger, Beckmann and Harchol-Balter, Practical Bounds on Optimal Caching with
    Variable Object Sizes, SIGMETRICS 2018.
    """
    return len(_kept(trace, sizes, budget, by_bytes=False)) / len(trace)


def fewest_bytes(trace: Sequence[int], sizes: Sequence[int], budget: int) -> int:
    """The same bound for the bytes that have to be read."""
    return sum(sizes[key] for key in trace) - sum(sizes[key] for key in _kept(trace, sizes, budget, by_bytes=True))


def _kept(trace: Sequence[int], sizes: Sequence[int], budget: int, *, by_bytes: bool) -> list[int]:
    latest: dict[int, int] = {}
    intervals = []
    for place, key in enumerate(trace):
        if key in latest:
            length = place - latest[key]
            intervals.append((length if by_bytes else length * sizes[key], length * sizes[key], key))
        latest[key] = place
    left, kept = budget * len(trace), []
    for _, cost, key in sorted(intervals):
        if left <= 0:
            break
        left -= cost  # the last may go over: it counts whole, so that the bound stays one
        kept.append(key)
    return kept
