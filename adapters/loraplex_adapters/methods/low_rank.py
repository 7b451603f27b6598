"""A low-rank update that a method's tensors reduce to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from loraplex_adapters.methods.product import product

# What a method may come to at one site. The kernels take any rank; beyond this an adapter weighs and costs about as
# much as a copy of the base's own weight, and so defeats its purpose.
LARGEST_RANK = 512
# Before what exceeds the weight's smaller side is multiplied out: that much is held for a moment.
LARGEST_UNFOLDED = 2048


class LowRank(NamedTuple):
    """`delta = b @ a`, before the scale."""

    a: np.ndarray  # float32 [rank, in]
    b: np.ndarray  # float32 [out, rank]


def folded_rank(rank: int, in_features: int, out_features: int) -> int:
    """The rank after `fold`."""
    return min(rank, in_features, out_features)


def fold(update: LowRank) -> LowRank:
    """The same update with no more rank than the smaller side of its weight: multiplied out where that is smaller."""
    a, b = update
    if folded_rank(len(a), a.shape[1], len(b)) == len(a):
        return update
    return whole(product(b, a))


def whole(delta: np.ndarray) -> LowRank:
    """An update `[out, in]` of any rank, with the identity on its smaller side."""
    out_features, in_features = delta.shape
    if out_features <= in_features:
        return LowRank(delta, np.eye(out_features, dtype=delta.dtype))
    return LowRank(np.eye(in_features, dtype=delta.dtype), delta)
