"""Choosing tokens as the definition reads: sort, cut off, walk. What the kernels are tested against."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from loraplex_kernels.ops.sampling.columns import WEIGHT_BITS, Columns


def draw_naive(logits: Tensor, columns: Columns) -> Tensor:
    """See `triton_draw.draw_triton`."""
    of_rows = zip(logits.cpu().numpy(), *(column.tolist() for column in columns), strict=True)
    return torch.tensor([_draw(x[:vocab], *how) for x, *how, vocab in of_rows], dtype=torch.int64)


def weights_naive(x: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.int64]:
    """int64 `[V]`: each token's weight, see `columns`."""
    inverse = np.float32(math.log2(math.e)) / np.float32(temperature)
    fraction = np.exp2((x - x.max()) * inverse)
    weights: npt.NDArray[np.int64] = (fraction * np.float32(2.0**WEIGHT_BITS)).astype(np.int64)
    return weights


def kept_naive(x: npt.NDArray[np.float32], weights: npt.NDArray[np.int64], k: int, p: float, m: float) -> list[int]:
    """The tokens that min_p, top_k and top_p leave, likeliest first, of equals the lower id first."""
    least = max(1, math.ceil(m * 2.0**WEIGHT_BITS))
    order = [int(token) for token in np.argsort(-x, kind="stable") if weights[token] >= least]
    order = order[:k] if k else order
    wanted = max(1, math.ceil(p * float(sum(int(weights[token]) for token in order))))
    kept, before = [], 0
    for token in order:
        if p < 1 and before >= wanted:
            break
        kept.append(token)
        before += int(weights[token])
    return kept


def _draw(x: npt.NDArray[np.float32], temperature: float, uniform: float, k: int, p: float, m: float) -> int:
    if not np.isfinite(x.max()):  # NaN is its own maximum
        return -1
    if temperature == 0:
        return int(x.argmax())
    weights: Any = weights_naive(x, temperature)
    kept = sorted(kept_naive(x, weights, k, p, m))
    total = sum(int(weights[token]) for token in kept)
    target, passed = min(int(uniform * total), total - 1), 0
    for token in kept:
        passed += int(weights[token])
        if passed > target:
            return token
    raise ValueError("the weights do not add up to their total")
