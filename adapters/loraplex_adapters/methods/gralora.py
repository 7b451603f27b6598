"""GraLoRA: a low-rank update of its own for each of k x k blocks of the weight, and perhaps a plain one on top.

The block of input n and output j is B[j]'s rows for n times A[n]'s columns for j, of rank r / k. Side by side, each
with zeros outside its block, they are one update of rank k * r.
Source: arXiv:2505.20355; PEFT's `Linear.forward` (tuners/gralora/layer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.methods.plan import Asked, Method, Plans, Tensors, UpdatePlan, each


def gralora_update(a: np.ndarray, b: np.ndarray) -> LowRank:
    """Args: a: `[k, in / k, r]`. b: `[k, r, out / k]`."""
    k, wide, r = a.shape
    high, each = b.shape[2], r // k
    whole_a = np.zeros((k, k, each, k, wide), dtype=a.dtype)  # by input n, output j, rank, then its place in the input
    whole_b = np.zeros((k, high, k, k, each), dtype=b.dtype)  # its place in the output, then as above
    for n in range(k):
        for j in range(k):
            whole_a[n, j, :, n] = a[n, :, j * each : (j + 1) * each].T
            whole_b[j, :, n, j] = b[j, n * each : (n + 1) * each].T
    return LowRank(whole_a.reshape(k * r, k * wide), whole_b.reshape(k * high, k * r))


def hybrid(first: LowRank, second: LowRank) -> LowRank:
    """The sum of two updates."""
    return LowRank(np.concatenate([first.a, second.a]), np.concatenate([first.b, second.b], axis=1))


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    k = fields.positive("gralora_k", 2)
    plain = fields.positive("hybrid_r", 1) if values.get("hybrid_r") else 0  # zero: none
    uneven = [one.site.name for one in asked if one.site.in_features % k or one.site.out_features % k]
    if uneven:
        fields.reasons.append(f"'gralora_k' {k} does not divide both sides of {', '.join(uneven)}")
    if any(one.rank % k for one in asked):
        fields.reasons.append(f"'gralora_k' {k} does not divide 'r'")
    if fields.reasons:
        return Plans({})
    return Plans(each(asked, lambda one: _site(one, k, plain)))


def _site(asked: Asked, k: int, plain: int) -> UpdatePlan:
    r, in_features, out_features = asked.rank, asked.site.in_features, asked.site.out_features
    parts: dict[str, tuple[int, ...]] = {"gralora_A": (k, in_features // k, r), "gralora_B": (k, r, out_features // k)}
    if plain:
        parts |= {"gralora_A_general.weight": (plain, in_features), "gralora_B_general.weight": (out_features, plain)}

    def build(tensors: Tensors, _: object) -> LowRank:
        blocks = gralora_update(tensors["gralora_A"], tensors["gralora_B"])
        if not plain:
            return blocks
        return hybrid(blocks, LowRank(tensors["gralora_A_general.weight"], tensors["gralora_B_general.weight"]))

    return UpdatePlan(parts, k * r + plain, asked.alpha / (r + plain), build)


GRALORA = Method(
    plan=_plan,
    served=frozenset({"gralora_k", "hybrid_r"}),
    rank=("r", 32),
    alpha=("alpha", 64),
    harmless={
        "gralora_dropout": "acts in training only",
        "init_weights": "read by initialisation only",
        "fan_in_fan_out": "PEFT itself sets it to false on an nn.Linear",
    },
)
