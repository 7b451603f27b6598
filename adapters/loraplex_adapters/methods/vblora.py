"""VB-LoRA: A and B are put together from the vectors of one bank, each piece a mixture of its k likeliest.

Source: arXiv:2405.15179; PEFT's `VBLoRALayer._get_low_rank_matrix` (tuners/vblora/layer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.methods.plan import Asked, Method, Plans, Shape, Tensors, UnservableError, UpdatePlan, each

A, B, BANK = "vblora_logits_A", "vblora_logits_B", "vblora_vector_bank"

Choice = tuple[np.ndarray, np.ndarray]  # indices into the bank, integers [..., k]; weights, float32 [..., k]


def choose(logits: np.ndarray, k: int) -> Choice:
    """The k largest logits of each piece, and their softmax.

    Args:
        logits: `[..., vectors]`.
        k: at most the vectors.
    """
    indices = np.argsort(-logits, axis=-1, kind="stable")[..., :k]
    top = np.take_along_axis(logits, indices, axis=-1)
    weights = np.exp(top - top[..., :1])
    return indices, weights / weights.sum(axis=-1, keepdims=True)


def saved_choice(indices: np.ndarray, weights: np.ndarray) -> Choice:
    """What a file with `save_only_topk_weights` holds: all weights but the last, which is what is left of 1."""
    last = 1 - weights.sum(axis=-1, keepdims=True)
    return indices.astype(np.int64), np.concatenate([weights, last], axis=-1)


def vblora_update(bank: np.ndarray, for_a: Choice, for_b: Choice) -> LowRank:
    """Args: bank: `[vectors, length]`. for_a: of `[rank, in / length]` pieces. for_b: of `[out / length, rank]`."""
    a, b = _mixed(bank, for_a), _mixed(bank, for_b)
    return LowRank(a.reshape(a.shape[0], -1), np.ascontiguousarray(b.transpose(0, 2, 1)).reshape(-1, b.shape[1]))


def _mixed(bank: np.ndarray, choice: Choice) -> np.ndarray:
    indices, weights = choice
    if indices.size and not 0 <= indices.min() <= indices.max() < len(bank):
        raise UnservableError(f"points outside the bank of {len(bank)} vectors")
    found = np.zeros((*indices.shape[:-1], bank.shape[1]), dtype=np.float32)
    for k in range(indices.shape[-1]):
        found += weights[..., k : k + 1] * bank[indices[..., k]]
    return found


@dataclass(frozen=True)
class _Bank:
    vectors: int
    length: int
    k: int
    only_top: bool  # the file has the choices, not the logits

    def parts(self, name: str, pieces: Shape) -> Mapping[str, Shape]:
        if self.only_top:
            return {f"{name}_topk_indices": (*pieces, self.k), f"{name}_topk_weights": (*pieces, self.k - 1)}
        return {name: (*pieces, self.vectors)}

    def choice(self, name: str, tensors: Tensors) -> Choice:
        if self.only_top:
            return saved_choice(tensors[f"{name}_topk_indices"], tensors[f"{name}_topk_weights"])
        return choose(tensors[name], self.k)

    def site(self, asked: Asked) -> UpdatePlan:
        along, across = asked.site.in_features // self.length, asked.site.out_features // self.length
        parts = {**self.parts(A, (asked.rank, along)), **self.parts(B, (across, asked.rank))}

        def build(tensors: Tensors, _: object) -> LowRank:
            return vblora_update(tensors[BANK], self.choice(A, tensors), self.choice(B, tensors))

        return UpdatePlan(parts, asked.rank, 1.0, build)


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    bank = _Bank(
        fields.positive("num_vectors", 256),
        fields.positive("vector_length", 256),
        fields.positive("topk", 2),
        fields.flag("save_only_topk_weights"),
    )
    uneven = [
        one.site.name for one in asked if one.site.in_features % bank.length or one.site.out_features % bank.length
    ]
    if uneven:
        fields.reasons.append(f"'vector_length' {bank.length} does not divide both sides of {', '.join(uneven)}")
    if bank.k > bank.vectors:
        fields.reasons.append(f"'topk' {bank.k} is more than 'num_vectors' {bank.vectors}")
    return Plans(each(asked, bank.site), shared={BANK: (bank.vectors, bank.length)})


VBLORA = Method(
    plan=_plan,
    served=frozenset({"num_vectors", "vector_length", "topk", "save_only_topk_weights"}),
    rank=("r", 4),
    harmless={
        "vblora_dropout": "acts in training only",
        "init_vector_bank_bound": "read by initialisation only",
        "init_logits_std": "read by initialisation only",
        "fan_in_fan_out": "PEFT itself sets it to false on an nn.Linear",
    },
)
