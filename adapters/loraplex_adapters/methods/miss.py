"""MiSS: the input's pieces of length r are summed, and the sum goes through one block.

The sum is a matrix of ones and zeros, A[j, i] = 1 where i mod r = j; an input that r does not divide is padded with
zeros, which A leaves out. In the mini variant the block's columns repeat, and so B is such a matrix too: the smaller of
the two ranks is taken.
Source: arXiv:2409.15371; PEFT's `MissLinear.forward` (tuners/miss/layer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.low_rank import LowRank, whole
from loraplex_adapters.methods.plan import Asked, Method, Plans, TermPlan, UpdatePlan, each
from loraplex_adapters.methods.product import product, weight_block


def miss_update(block: np.ndarray, in_features: int, out_features: int) -> LowRank:
    """Args: block: `[r, out]`, or `[r, mini_r]` where mini_r divides out."""
    r, columns = block.shape
    if r <= columns:
        return LowRank(_folding(in_features, r), np.tile(block.T, (out_features // columns, 1)))
    a = np.take(block.T, np.arange(in_features) % r, axis=1)
    return LowRank(a, np.ascontiguousarray(_folding(out_features, columns).T))


def bat_update(block: np.ndarray, weight: Tensor) -> LowRank:
    """Each block of the weight times the block of its rows, plus that block: of full rank, and so as a whole.

    Args:
        block: `[out / r, r, r]`.
        weight: the base's `[out, in]`.
    """
    r, (out_features, in_features) = block.shape[1], weight.shape
    delta = np.empty((out_features, in_features), dtype=np.float32)
    for first in range(0, out_features, r):
        own = block[first // r]
        rows = weight_block(weight, first, first + r)
        delta[first : first + r] = (product(rows.reshape(-1, r), own)).reshape(r, in_features)
        delta[first : first + r] += np.tile(own, in_features // r)
    return whole(delta)


def _folding(width: int, r: int) -> np.ndarray:
    """`[r, width]`: adds the pieces of length r."""
    return np.equal(np.arange(r)[:, None], np.arange(width)[None, :] % r).astype(np.float32)


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    variant = values.get("init_weights", True)
    mini_r = fields.positive("mini_r", 1)
    if variant == "bat":
        return Plans(_bat_plans(asked, fields))
    if not isinstance(variant, bool) and variant != "mini":
        fields.reasons.append(f"'init_weights' {variant!r:.80} is not a variant of MiSS that Loraplex knows")
    narrow = [one.site.name for one in asked if variant == "mini" and one.site.out_features % mini_r]
    if narrow:
        fields.reasons.append(f"'mini_r' {mini_r} does not divide the outputs of {', '.join(narrow)}")
    return Plans(each(asked, lambda one: _site(one, mini_r if variant == "mini" else one.site.out_features)))


def _bat_plans(asked: Sequence[Asked], fields: Fields) -> Mapping[int, UpdatePlan | TermPlan]:
    uneven = [one.site.name for one in asked if one.site.in_features % one.rank or one.site.out_features % one.rank]
    if uneven:
        fields.reasons.append(f"'r' does not divide both sides of {', '.join(uneven)}")
        return {}

    def site(one: Asked) -> UpdatePlan:
        parts = {"miss_block": (one.site.out_features // one.rank, one.rank, one.rank)}
        rank = min(one.site.in_features, one.site.out_features)
        return UpdatePlan(parts, rank, 1.0, lambda tensors, weight: bat_update(tensors["miss_block"], weight()))

    return each(asked, site)


def _site(asked: Asked, columns: int) -> UpdatePlan:
    in_features, out_features = asked.site.in_features, asked.site.out_features
    return UpdatePlan(
        {"miss_block": (asked.rank, columns)},
        min(asked.rank, columns),
        1.0,
        lambda tensors, _: miss_update(tensors["miss_block"], in_features, out_features),
    )


MISS = Method(
    plan=_plan,
    served=frozenset({"init_weights", "mini_r"}),
    rank=("r", 64),
    harmless={"miss_dropout": "acts in training only"},
)
