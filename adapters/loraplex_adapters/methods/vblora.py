"""VB-LoRA: A and B are put together from the vectors of one bank, each piece a mixture of its k likeliest.

Source: arXiv:2405.15179; PEFT's `VBLoRALayer._get_low_rank_matrix` (tuners/vblora/layer.py).
"""

from __future__ import annotations

import numpy as np

from loraplex_adapters.methods.low_rank import LowRank

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
    found = np.zeros((*indices.shape[:-1], bank.shape[1]), dtype=np.float32)
    for k in range(indices.shape[-1]):
        found += weights[..., k : k + 1] * bank[indices[..., k]]
    return found
