"""LoHa: the elementwise product of two low-rank products, which is one of the product of their ranks.

(P Q) * (S T) has the entries sum_ij P[o,i] S[o,j] Q[i,n] T[j,n], so its factors are the row-wise products of P and S
and the column-wise products of Q and T (Khatri-Rao).
Source: arXiv:2108.06098; PEFT's `LoHaLayer.get_delta_weight` (tuners/loha/layer.py).
"""

from __future__ import annotations

import numpy as np

from loraplex_adapters.methods.low_rank import LowRank


def loha_update(w1_a: np.ndarray, w1_b: np.ndarray, w2_a: np.ndarray, w2_b: np.ndarray) -> LowRank:
    """Args: w1_a, w2_a: `[out, r]`. w1_b, w2_b: `[r, in]`. The result has rank r * r."""
    (r, in_features), out_features = w1_b.shape, w1_a.shape[0]
    a = (w1_b[:, None, :] * w2_b[None, :, :]).reshape(r * r, in_features)
    b = (w1_a[:, :, None] * w2_a[:, None, :]).reshape(out_features, r * r)
    return LowRank(a, b)
