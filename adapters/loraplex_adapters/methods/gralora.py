"""GraLoRA: a low-rank update of its own for each of k x k blocks of the weight, and perhaps a plain one on top.

The block of input n and output j is B[j]'s rows for n times A[n]'s columns for j, of rank r / k. Side by side, each
with zeros outside its block, they are one update of rank k * r.
Source: arXiv:2505.20355; PEFT's `Linear.forward` (tuners/gralora/layer.py).
"""

from __future__ import annotations

import numpy as np

from loraplex_adapters.methods.low_rank import LowRank


def gralora_update(a: np.ndarray, b: np.ndarray) -> LowRank:
    """Args: a: `[k, in / k, r]`. b: `[k, r, out / k]`."""
    k, wide, r = a.shape
    high, each = b.shape[2], r // k
    whole_a = np.zeros((k, k, each, k, wide), dtype=a.dtype)  # by input n, output j, rank, then its place in the input
    whole_b = np.zeros((k, high, k, k, each), dtype=b.dtype)  # its place in the output, then as above
    for n in range(k):
        for j in range(k):
            whole_a[n, j, :, n] = a[n, :, j * each : (j + 1) * each].T
            whole_b[j, :, n, j] = b[j, n * each : (n + 1) * each].T
    return LowRank(whole_a.reshape(k * r, k * wide), whole_b.reshape(k * high, k * r))


def hybrid(first: LowRank, second: LowRank) -> LowRank:
    """The sum of two updates."""
    return LowRank(np.concatenate([first.a, second.a]), np.concatenate([first.b, second.b], axis=1))
