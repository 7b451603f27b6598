"""LoHa: the elementwise product of two low-rank products, which is one of the product of their ranks.

(P Q) * (S T) has the entries sum_ij P[o,i] S[o,j] Q[i,n] T[j,n], so its factors are the row-wise products of P and S
and the column-wise products of Q and T (Khatri-Rao).
Source: arXiv:2108.06098; PEFT's `LoHaLayer.get_delta_weight` (tuners/loha/layer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.methods.lycoris import HARMLESS
from loraplex_adapters.methods.plan import Asked, Method, Plans, UpdatePlan, each

PARTS = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")


def loha_update(w1_a: np.ndarray, w1_b: np.ndarray, w2_a: np.ndarray, w2_b: np.ndarray) -> LowRank:
    """Args: w1_a, w2_a: `[out, r]`. w1_b, w2_b: `[r, in]`. The result has rank r * r."""
    (r, in_features), out_features = w1_b.shape, w1_a.shape[0]
    a = (w1_b[:, None, :] * w2_b[None, :, :]).reshape(r * r, in_features)
    b = (w1_a[:, :, None] * w2_a[:, None, :]).reshape(out_features, r * r)
    return LowRank(a, b)


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    return Plans(each(asked, _site))


def _site(asked: Asked) -> UpdatePlan:
    r, out_features, in_features = asked.rank, asked.site.out_features, asked.site.in_features
    parts = {name: (out_features, r) if name.endswith("a") else (r, in_features) for name in PARTS}
    return UpdatePlan(parts, r * r, asked.alpha / r, lambda tensors, _: loha_update(*(tensors[name] for name in PARTS)))


LOHA = Method(
    plan=_plan,
    rank=("r", 8),
    alpha=("alpha", 8),
    patterns=frozenset({"rank_pattern", "alpha_pattern"}),
    harmless=HARMLESS,
)
