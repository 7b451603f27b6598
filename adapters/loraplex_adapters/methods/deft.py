"""DEFT and PaRa: a subspace of the outputs is taken out of the weight, and something new put in its place.

delta = Q (scale R - right' W), where Q and right come from P: rank r, with the base's weight read once, at load.
Source: PEFT's `DeftLinear._project` and `get_delta_weight` (tuners/deft/layer.py).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from torch import Tensor

from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.methods.product import times_weight

Decomposition = Literal["relu", "qr"]


def deft_update(p: np.ndarray, r: np.ndarray | None, scale: float, weight: Tensor, how: Decomposition) -> LowRank:
    """Args: p: `[out, rank]`. r: `[rank, in]`, None for PaRa. scale: of r. weight: the base's `[out, in]`."""
    outer = p if how == "relu" else np.linalg.qr(p.astype(np.float64))[0].astype(np.float32)
    right = np.maximum(p, 0) if how == "relu" else outer
    taken = times_weight(np.ascontiguousarray(right.T), weight)
    return LowRank(-taken if r is None else np.float32(scale) * r - taken, outer)
