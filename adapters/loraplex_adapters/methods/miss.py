"""MiSS: the input's pieces of length r are summed, and the sum goes through one block.

The sum is a matrix of ones and zeros, A[j, i] = 1 where i mod r = j; an input that r does not divide is padded with
zeros, which A leaves out. In the mini variant the block's columns repeat, and so B is such a matrix too: the smaller of
the two ranks is taken.
Source: arXiv:2409.15371; PEFT's `MissLinear.forward` (tuners/miss/layer.py).
"""

from __future__ import annotations

import numpy as np

from loraplex_adapters.methods.low_rank import LowRank


def miss_update(block: np.ndarray, in_features: int, out_features: int) -> LowRank:
    """Args: block: `[r, out]`, or `[r, mini_r]` where mini_r divides out."""
    r, columns = block.shape
    if r <= columns:
        return LowRank(_folding(in_features, r), np.tile(block.T, (out_features // columns, 1)))
    a = np.take(block.T, np.arange(in_features) % r, axis=1)
    return LowRank(a, np.ascontiguousarray(_folding(out_features, columns).T))


def _folding(width: int, r: int) -> np.ndarray:
    """`[r, width]`: adds the pieces of length r."""
    return np.equal(np.arange(r)[:, None], np.arange(width)[None, :] % r).astype(np.float32)
