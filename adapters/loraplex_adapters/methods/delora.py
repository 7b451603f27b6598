"""DeLoRA: the directions of A and B are normalised, a learned bound takes the place of their length.

Source: arXiv:2503.18225; PEFT's `DeloraLayer._compute_delta` (tuners/delora/layer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.methods.plan import Asked, Method, Plans, UpdatePlan, each

SHORTEST = 1e-4  # a direction that PEFT divides by is taken to be at least as long


def delora_update(a: np.ndarray, b: np.ndarray, bound: np.ndarray, weight_norm: np.ndarray) -> LowRank:
    """Args: a: `[rank, in]`. b: `[out, rank]`. bound: delora_lambda, `[1]`. weight_norm: `[in]`, which PEFT saves."""
    lengths = np.maximum(_norm(a, 1), SHORTEST) * np.maximum(_norm(b, 0), SHORTEST)
    factor = (bound / a.shape[0] / lengths).astype(np.float32)
    return LowRank(a * factor[:, None] * weight_norm[None, :], b)


def _norm(matrix: np.ndarray, axis: int) -> np.ndarray:
    found: np.ndarray = np.linalg.norm(matrix.astype(np.float64), axis=axis)
    return found


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    return Plans(each(asked, _site))


def _site(asked: Asked) -> UpdatePlan:
    rank, in_features, out_features = asked.rank, asked.site.in_features, asked.site.out_features
    parts = {
        "delora_A": (rank, in_features),
        "delora_B": (out_features, rank),
        "delora_lambda": (1,),
        "delora_w_norm": (in_features,),
    }
    return UpdatePlan(parts, rank, 1.0, lambda tensors, _: delora_update(*(tensors[name] for name in parts)))


DELORA = Method(
    plan=_plan,
    rank=("r", 8),
    patterns=frozenset({"rank_pattern"}),
    harmless={
        "delora_lambda": "the file holds what became of it",
        "lambda_pattern": "the file holds what became of it",
        "module_dropout": "acts in training only",
        "init_weights": "read by initialisation only",
    },
)
