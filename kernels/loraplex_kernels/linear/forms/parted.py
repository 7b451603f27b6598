"""Groups of inputs where only some of the inputs are left."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

from torch import Tensor


def parted(group: int, first: int, last: int, *, whole: bool = False) -> tuple[int, Callable[[Tensor], Tensor]]:
    """How the inputs from `first` to before `last` are grouped, so that each keeps the scale that it has.

    Args:
        group: inputs that share a scale.
        first: of the inputs that are left.
        last: behind them.
        whole: no group may be shorter than the others; else the last may.

    Returns:
        The inputs that share one now, fewer where a border lies within a group; and what makes of scales `[N, groups]`
        those that are left, contiguous.
    """
    if first // group == (last - 1) // group:  # all within one
        return last - first, lambda scales: scales[:, first // group : first // group + 1].contiguous()
    size = gcd(group, first, last) if whole else gcd(group, first)
    return size, lambda scales: _repeated(scales, group // size)[:, first // size : -(-last // size)].contiguous()


def _repeated(scales: Tensor, times: int) -> Tensor:
    return scales if times == 1 else scales.repeat_interleave(times, dim=1)
