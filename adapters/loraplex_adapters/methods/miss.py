"""MiSS: the input's pieces of length r are summed, and the sum goes through one block.

The sum is a matrix of ones and zeros, A[j, i] = 1 where i mod r = j; an input that r does not divide is padded with
zeros, which A leaves out. In the mini variant the block's columns repeat, and so B is such a matrix too: the smaller of
the two ranks is taken.
Source: arXiv:2409.15371; PEFT's `MissLinear.forward` (tuners/miss/layer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.methods.plan import Asked, Method, Plans, UpdatePlan, each


def miss_update(block: np.ndarray, in_features: int, out_features: int) -> LowRank:
    """Args: block: `[r, out]`, or `[r, mini_r]` where mini_r divides out."""
    r, columns = block.shape
    if r <= columns:
        return LowRank(_folding(in_features, r), np.tile(block.T, (out_features // columns, 1)))
    a = np.take(block.T, np.arange(in_features) % r, axis=1)
    return LowRank(a, np.ascontiguousarray(_folding(out_features, columns).T))


def _folding(width: int, r: int) -> np.ndarray:
    """`[r, width]`: adds the pieces of length r."""
    return np.equal(np.arange(r)[:, None], np.arange(width)[None, :] % r).astype(np.float32)


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    variant = values.get("init_weights", True)
    mini_r = fields.positive("mini_r", 1)
    if variant == "bat":
        fields.reasons.append(
            "'init_weights' is 'bat': the update is the base weight times a block of its own for each of its rows' "
            "blocks, of full rank; PEFT's merge_and_unload puts it into the base"
        )
    elif not isinstance(variant, bool) and variant != "mini":
        fields.reasons.append(f"'init_weights' {variant!r:.80} is not a variant of MiSS that Loraplex knows")
    narrow = [one.site.name for one in asked if variant == "mini" and one.site.out_features % mini_r]
    if narrow:
        fields.reasons.append(f"'mini_r' {mini_r} does not divide the outputs of {', '.join(narrow)}")
    return Plans(each(asked, lambda one: _site(one, mini_r if variant == "mini" else one.site.out_features)))


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
