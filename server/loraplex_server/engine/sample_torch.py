"""Choosing tokens through torch: what a CPU without the compiled kernels does.

The likeliest candidates are looked at first, more if need be. As everywhere, a row's number is held against the
weights of what is kept by ascending id, so that a seed draws the same token whoever draws.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from loraplex_server.engine.sample_inputs import SampleInputs

# Candidates looked at first under top_k, top_p or min_p. Sorting a vocabulary of 150,000 takes longer than the
# model's last layer, and the nucleus nearly always fits in this many.
FIRST_CANDIDATES = 128
# Columns summed at once by the inverse of the cumulative distribution: float32 sums of so few lose nothing.
CUMULATIVE_BLOCK = 512


def sample_rows(logits: Tensor, inputs: SampleInputs, rows: npt.NDArray[np.intp]) -> Tensor:
    """int64 `[n]`: the tokens, -1 where the logits are not finite.

    Args:
        logits: float32 `[n, V]`, adjusted.
        inputs: of the step.
        rows: which of its rows these are.
    """
    best = logits.max(dim=-1)  # a NaN anywhere in a row is its maximum
    chosen = best.indices  # [n]
    random, filtered = inputs.random[rows], inputs.filtered[rows]
    for part, choose in ((random & ~filtered, _sample_all), (filtered, _sample_filtered)):
        if part.any():
            index = torch.from_numpy(np.flatnonzero(part))
            drawn = rows[part]
            temperature = torch.from_numpy(inputs.temperature[drawn])[:, None]
            # float64: rounded to float32, a number just below 1 becomes 1, which is past every token.
            uniform = torch.from_numpy(inputs.uniform[drawn])[:, None]
            probs = torch.softmax(logits[index] / temperature, dim=-1)
            chosen[index] = choose(probs, uniform, inputs, drawn)
    return torch.where(torch.isfinite(best.values), chosen, -1)


def _sample_all(probs: Tensor, uniform: Tensor, _: SampleInputs, __: npt.NDArray[np.intp]) -> Tensor:
    """Inverse of the cumulative distribution over the whole vocabulary, in two levels.

    Args:
        probs: `[R, V]`.
        uniform: float64 `[R, 1]`, in [0, 1).
    """
    rows, vocab = probs.shape
    padded = torch.nn.functional.pad(probs, (0, -vocab % CUMULATIVE_BLOCK)).view(rows, -1, CUMULATIVE_BLOCK)
    blocks = padded.sum(dim=-1).double().cumsum(dim=-1)  # [R, V / block]
    target = uniform * blocks[:, -1:]
    block = (blocks <= target).sum(dim=-1).clamp(max=blocks.shape[1] - 1)  # [R]
    row = torch.arange(rows)
    before = torch.where(block > 0, blocks[row, (block - 1).clamp(min=0)], 0.0)
    inside = padded[row, block].double()  # [R, block]
    return block * CUMULATIVE_BLOCK + _inverse(inside, target[:, 0] - before)


def _inverse(weights: Tensor, target: Tensor) -> Tensor:
    """First column whose cumulative weight exceeds the target; never one of weight 0.

    Args:
        weights: `[R, K]`, not negative.
        target: `[R]`.
    """
    passed = (weights.cumsum(dim=-1) <= target[:, None]).sum(dim=-1)
    last = torch.where(weights > 0, torch.arange(weights.shape[1]), 0).amax(dim=-1)  # rounding can pass the end
    return torch.minimum(passed, last)


def _sample_filtered(probs: Tensor, uniform: Tensor, inputs: SampleInputs, rows: npt.NDArray[np.intp]) -> Tensor:
    vocab = probs.shape[1]
    asked = torch.from_numpy(inputs.top_k[rows].astype(np.int64))[:, None]
    top_k = torch.where(asked > 0, asked, vocab)
    top_p = torch.from_numpy(inputs.top_p[rows]).to(probs.dtype)[:, None]
    min_p = torch.from_numpy(inputs.min_p[rows]).to(probs.dtype)[:, None]
    width = min(FIRST_CANDIDATES, vocab)
    while True:
        values, ids = probs.topk(width, dim=-1)  # [R, width], likeliest first
        kept, decided = _keep(values, top_k, top_p, min_p, vocab)
        if decided:
            break
        width = min(width * 8, vocab)
    ids, order = ids.sort(dim=-1)
    column = _inverse(kept.gather(1, order), uniform[:, 0] * kept.sum(dim=-1))
    return ids.gather(1, column[:, None])[:, 0]


def _keep(values: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, vocab: int) -> tuple[Tensor, bool]:
    """Weights of the candidates that stay, float64 `[R, K]`, and whether the rest could not change that any more.

    min_p and top_k are told from a candidate's own value and place. For top_p the total of what min_p and top_k
    leave is needed: it is known once they end inside the candidates, and is 1 where neither of them is asked for.
    """
    complete = values.shape[1] == vocab
    place = torch.arange(values.shape[1])[None, :]
    stays = (values >= min_p * values[:, :1]) & (place < top_k)
    kept = torch.where(stays, values, 0.0).double()
    inside = kept.sum(dim=-1, keepdim=True)
    ended = ~stays[:, -1:]  # the candidates reach past what min_p and top_k leave
    unlimited = (min_p == 0) & (top_k >= vocab)
    total = torch.where(unlimited & ~ended, 1.0, inside) if not complete else inside
    before = kept.cumsum(dim=-1) - kept  # weight of the likelier ones
    nucleus = before < top_p * total
    known = ended | (unlimited & ~nucleus[:, -1:])
    return torch.where(nucleus, kept, 0.0), complete or bool(known.all())
