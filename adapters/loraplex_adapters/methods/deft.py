"""DEFT and PaRa: a subspace of the outputs is taken out of the weight, and something new put in its place.

delta = Q (scale R - right' W), where Q and right come from P: rank r, with the base's weight read once, at load.
Source: PEFT's `DeftLinear._project` and `get_delta_weight` (tuners/deft/layer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from torch import Tensor

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.methods.plan import Asked, Method, Plans, UpdatePlan, each
from loraplex_adapters.methods.product import times_weight

Decomposition = Literal["relu", "qr"]


def deft_update(p: np.ndarray, r: np.ndarray | None, scale: float, weight: Tensor, how: Decomposition) -> LowRank:
    """Args: p: `[out, rank]`. r: `[rank, in]`, None for PaRa. scale: of r. weight: the base's `[out, in]`."""
    outer = p if how == "relu" else np.linalg.qr(p.astype(np.float64))[0].astype(np.float32)
    right = np.maximum(p, 0) if how == "relu" else outer
    taken = times_weight(np.ascontiguousarray(right.T), weight)
    return LowRank(-taken if r is None else np.float32(scale) * r - taken, outer)


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    para = fields.flag("para")
    alpha = fields.number("alpha", 0.0) if values.get("alpha") else None  # null and zero: no scale
    how = values.get("decomposition_method", "relu")
    if how not in ("relu", "qr"):
        fields.reasons.append(f"'decomposition_method' must be 'relu' or 'qr', found {how!r:.80}")
        return Plans({})
    decomposition: Decomposition = "qr" if how == "qr" else "relu"

    def site(one: Asked) -> UpdatePlan:
        rank = min(one.rank, one.site.out_features)  # PEFT's own bound
        parts = {"deft_P": (one.site.out_features, rank)} | ({} if para else {"deft_R": (rank, one.site.in_features)})
        scale = 1.0 if alpha is None else alpha / rank
        return UpdatePlan(
            parts,
            rank,
            1.0,
            lambda tensors, weight: deft_update(
                tensors["deft_P"], tensors.get("deft_R"), scale, weight(), decomposition
            ),
        )

    return Plans(each(asked, site))


DEFT = Method(
    plan=_plan,
    served=frozenset({"para", "alpha", "decomposition_method"}),
    rank=("r", 8),
    harmless={
        "deft_dropout": "acts in training only",
        "init_weights": "read by initialisation only",
        "init_scale": "read by initialisation only",
        "fan_in_fan_out": "PEFT itself sets it to false on an nn.Linear",
    },
)
