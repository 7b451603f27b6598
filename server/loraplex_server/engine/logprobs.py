"""Log probabilities of chosen tokens and of the likeliest alternatives, from the raw logits."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import msgspec
import torch
from torch import Tensor

from loraplex_server.engine.messages import TokenLogprob
from loraplex_server.engine.sequence import Sequence


def token_logprobs(logits: Tensor, tokens: Seq[int], alternatives: int) -> list[TokenLogprob]:
    """Before penalties, bias and temperature, as in OpenAI's API and vLLM's default: what the model itself says.

    Args:
        logits: float32 `[R, V]`.
        tokens: the chosen token of each row.
        alternatives: how many of the likeliest tokens to report beside it; may be 0.
    """
    if not tokens:
        return []
    logprobs = logits - logits.logsumexp(dim=-1, keepdim=True)  # [R, V]
    chosen = logprobs.gather(1, torch.tensor(tokens, device=logits.device)[:, None])  # [R, 1]
    ranks = (logprobs > chosen).sum(dim=-1) + 1  # [R]
    top = logprobs.topk(min(alternatives, logits.shape[-1]), dim=-1)
    rows = zip(tokens, chosen[:, 0].tolist(), ranks.tolist(), top.indices.tolist(), top.values.tolist(), strict=True)
    return [
        TokenLogprob(token_id=token, logprob=logprob, rank=rank, top=list(zip(ids, values, strict=True)))
        for token, logprob, rank, ids, values in rows
    ]


def chosen_logprobs(logits: Tensor, sequences: Seq[Sequence], tokens: Seq[int]) -> list[TokenLogprob | None]:
    """Of each sequence's chosen token, where the sequence asks for it; all of them in one pass.

    Args:
        logits: float32 `[R, V]`.
        sequences: of each row.
        tokens: of each row.
    """
    asked = [row for row, sequence in enumerate(sequences) if sequence.sampling.logprobs is not None]
    found: list[TokenLogprob | None] = [None] * len(sequences)
    if not asked:
        return found
    counts = [sequences[row].sampling.logprobs or 0 for row in asked]
    rows = logits if len(asked) == len(sequences) else logits[asked]
    for row, count, each in zip(
        asked, counts, token_logprobs(rows, [tokens[row] for row in asked], max(counts)), strict=True
    ):
        found[row] = msgspec.structs.replace(each, top=each.top[:count])
    return found
