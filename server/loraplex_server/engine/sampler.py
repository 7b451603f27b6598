"""The next token of each sequence."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import torch
from torch import Tensor

from loraplex_server.engine.penalties import adjust
from loraplex_server.engine.sequence import Sequence

# Candidates looked at first under top_k, top_p or min_p. Sorting a vocabulary of 150,000 takes longer than the
# model's last layer, and the nucleus nearly always fits in this many.
FIRST_CANDIDATES = 128
# Dividing by less would overflow float32; what is left of the other tokens is nothing anyway.
GREEDY_BELOW = 1e-5
# Columns summed at once by the inverse of the cumulative distribution: float32 sums of so few lose nothing.
CUMULATIVE_BLOCK = 512


def sample(logits: Tensor, sequences: Seq[Sequence]) -> list[int | None]:
    """Choose a token for each row: greedily at temperature 0, otherwise by the sequence's own random numbers.

    Filters apply in the order temperature, min_p, top_k, top_p, as in vLLM. A row's choice does not depend on the
    other rows: it uses one uniform number from its sequence's generator and the inverse cumulative distribution.

    Args:
        logits: float32 `[R, V]`.
        sequences: of each row.

    Returns:
        A token a row; None where the logits are not finite, so that nothing could be chosen but nonsense.
    """
    adjusted = adjust(logits, sequences)
    best = adjusted.max(dim=-1)  # a NaN anywhere in a row is its maximum
    chosen = best.indices  # [R]
    random_rows = [row for row, sequence in enumerate(sequences) if sequence.sampling.temperature >= GREEDY_BELOW]
    filtered = [row for row in random_rows if _filters(sequences[row])]
    plain = [row for row in random_rows if not _filters(sequences[row])]
    for rows, choose in ((plain, _sample_all), (filtered, _sample_filtered)):
        if rows:
            index = torch.tensor(rows, device=logits.device)
            drawn = [sequences[row] for row in rows]
            temperature = _column([sequence.sampling.temperature for sequence in drawn], logits)
            # float64: rounded to float32, a number just below 1 becomes 1, which is past every token.
            uniform = torch.tensor([sequence.rng.random() for sequence in drawn], dtype=torch.float64)
            probs = torch.softmax(adjusted[index] / temperature, dim=-1)
            chosen[index] = choose(probs, uniform.to(logits.device)[:, None], drawn)
    finite = torch.isfinite(best.values).tolist()
    return [token if good else None for token, good in zip(chosen.tolist(), finite, strict=True)]


def _filters(sequence: Sequence) -> bool:
    sampling = sequence.sampling
    return sampling.top_k > 0 or sampling.top_p < 1.0 or sampling.min_p > 0.0


def _column(values: Seq[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]  # [R, 1]


def _sample_all(probs: Tensor, uniform: Tensor, _: Seq[Sequence]) -> Tensor:
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
    row = torch.arange(rows, device=probs.device)
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
    columns = torch.arange(weights.shape[1], device=weights.device)
    last = torch.where(weights > 0, columns, 0).amax(dim=-1)  # rounding can pass the end
    return torch.minimum(passed, last)


def _sample_filtered(probs: Tensor, uniform: Tensor, sequences: Seq[Sequence]) -> Tensor:
    top_k = torch.tensor([s.sampling.top_k or probs.shape[1] for s in sequences], device=probs.device)[:, None]
    top_p = _column([sequence.sampling.top_p for sequence in sequences], probs)
    min_p = _column([sequence.sampling.min_p for sequence in sequences], probs)
    width = min(FIRST_CANDIDATES, probs.shape[1])
    while True:
        values, ids = probs.topk(width, dim=-1)  # [R, width], likeliest first
        kept, decided = _keep(values, top_k, top_p, min_p, probs.shape[1])
        if decided:
            break
        width = min(width * 8, probs.shape[1])
    column = _inverse(kept, uniform[:, 0] * kept.sum(dim=-1))
    return ids.gather(1, column[:, None])[:, 0]


def _keep(values: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, vocab: int) -> tuple[Tensor, bool]:
    """Weights of the candidates that stay, float64 `[R, K]`, and whether the rest could not change that any more.

    min_p and top_k are told from a candidate's own value and place. For top_p the total of what min_p and top_k
    leave is needed: it is known once they end inside the candidates, and is 1 where neither of them is asked for.
    """
    complete = values.shape[1] == vocab
    place = torch.arange(values.shape[1], device=values.device)[None, :]
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
