"""AdaLoRA: B diag(E) A, some of whose ranks were pruned in training.

Source: arXiv:2303.10512; PEFT's `SVDLinear` and `resize_modules_by_rank_pattern` (tuners/adalora).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.methods.plan import Asked, Method, Plans, UpdatePlan, each
from loraplex_adapters.unserved import HARMLESS as LORAS_HARMLESS

EPSILON = 1e-5  # that PEFT adds to the rank it divides by


def adalora_scale(alpha: float, rank: int, init_rank: int) -> float:
    """PEFT divides by the rank before pruning, and takes the rank after it where alpha is not above zero."""
    return (alpha if alpha > 0 else float(rank)) / (init_rank + EPSILON)


def adalora_update(a: np.ndarray, e: np.ndarray, b: np.ndarray) -> LowRank:
    """Args: a: `[rank, in]`. e: `[rank, 1]`. b: `[out, rank]`."""
    return LowRank(a * e, b)


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    kept = _kept_ranks(values.get("rank_pattern"), fields)

    def site(one: Asked) -> UpdatePlan:
        mask = kept.get(one.site.name)
        if mask is not None and len(mask) != one.rank:
            fields.reasons.append(f"'rank_pattern' has {len(mask)} ranks for {one.site.name}, 'init_r' is {one.rank}")
        rank = one.rank if mask is None else sum(mask)
        parts = {
            "lora_A": (rank, one.site.in_features),
            "lora_E": (rank, 1),
            "lora_B": (one.site.out_features, rank),
        }
        scale = adalora_scale(one.alpha, rank, one.rank)
        return UpdatePlan(
            parts,
            rank,
            scale,
            lambda tensors, _: adalora_update(tensors["lora_A"], tensors["lora_E"], tensors["lora_B"]),
        )

    plans = Plans(each(asked, site))
    if unknown := sorted(kept.keys() - {one.site.name for one in asked}):
        fields.reasons.append(f"'rank_pattern' is for linears that are not selected: {', '.join(unknown)}")
    return plans


def _kept_ranks(pattern: object, fields: Fields) -> Mapping[str, Sequence[bool]]:
    """Site name -> which of its first ranks are left; PEFT's keys end in `.lora_E`, maybe with the adapter's name."""
    if pattern is None:
        return {}
    kept = {}
    for key, mask in pattern.items() if isinstance(pattern, dict) else [("", None)]:
        if not isinstance(mask, list) or not all(isinstance(one, bool) for one in mask):
            fields.reasons.append(f"'rank_pattern' must be an object of lists of true and false, found {pattern!r:.80}")
            return {}
        kept[key.removesuffix(".default").rpartition(".")[0]] = mask
    return kept


ADALORA = Method(
    plan=_plan,
    served=frozenset({"rank_pattern"}),
    rank=("init_r", 12),
    alpha=("lora_alpha", 8),
    harmless={
        **LORAS_HARMLESS,
        **dict.fromkeys(
            (
                "target_r",
                "tinit",
                "tfinal",
                "deltaT",
                "beta1",
                "beta2",
                "orth_reg_weight",
                "total_step",
                "lora_dropout",
            ),
            "acts in training only",
        ),
        "r": "PEFT reads init_r instead",
        "use_rslora": "PEFT's AdaLoRA does not read it",
        "alpha_pattern": "PEFT's AdaLoRA does not read it",
        "init_lora_weights": "read by initialisation only",
    },
)
