"""DeLoRA: the directions of A and B are normalised, a learned bound takes the place of their length.

Source: arXiv:2503.18225; PEFT's `DeloraLayer._compute_delta` (tuners/delora/layer.py).
"""

from __future__ import annotations

import numpy as np

from loraplex_adapters.methods.low_rank import LowRank

SHORTEST = 1e-4  # a direction that PEFT divides by is taken to be at least as long


def delora_update(a: np.ndarray, b: np.ndarray, bound: float, weight_norm: np.ndarray) -> LowRank:
    """Args: a: `[rank, in]`. b: `[out, rank]`. bound: delora_lambda. weight_norm: `[in]`, which PEFT saves."""
    lengths = np.maximum(_norm(a, 1), SHORTEST) * np.maximum(_norm(b, 0), SHORTEST)
    factor = (bound / a.shape[0] / lengths).astype(np.float32)
    return LowRank(a * factor[:, None] * weight_norm[None, :], b)


def _norm(matrix: np.ndarray, axis: int) -> np.ndarray:
    found: np.ndarray = np.linalg.norm(matrix.astype(np.float64), axis=axis)
    return found
