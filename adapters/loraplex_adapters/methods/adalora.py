"""AdaLoRA: B diag(E) A, some of whose ranks were pruned in training.

Source: arXiv:2303.10512; PEFT's `SVDLinear` and `resize_modules_by_rank_pattern` (tuners/adalora).
"""

from __future__ import annotations

import numpy as np

from loraplex_adapters.methods.low_rank import LowRank

EPSILON = 1e-5  # that PEFT adds to the rank it divides by


def adalora_scale(alpha: float, rank: int, init_rank: int) -> float:
    """PEFT divides by the rank before pruning, and takes the rank after it where alpha is not above zero."""
    return (alpha if alpha > 0 else float(rank)) / (init_rank + EPSILON)


def adalora_update(a: np.ndarray, e: np.ndarray, b: np.ndarray) -> LowRank:
    """Args: a: `[rank, in]`. e: `[rank, 1]`. b: `[out, rank]`."""
    return LowRank(a * e, b)
