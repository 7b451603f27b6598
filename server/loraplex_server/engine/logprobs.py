"""Log probabilities of chosen tokens and of the likeliest alternatives, from the raw logits."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_server.engine.messages import TokenLogprob

# Scored at once on a CPU, or one a thread where there are more of these. What is worked out on the way has a column for
# each token of the vocabulary, some of them eight bytes wide: of 32 rows that is a hundred megabytes, which the C
# library's heap goes on holding in pieces, and each of its pages is fetched anew.
CPU_ROWS = 4


@dataclass(frozen=True)
class Scored:
    """Of A rows, on the device that computed them or on the host."""

    tokens: Tensor  # int64 [A]
    chosen: Tensor  # float32 [A]: the tokens' log probabilities
    ranks: Tensor  # int64 [A]; 1: the likeliest
    top_ids: Tensor  # int64 [A, N]: the likeliest tokens
    top_values: Tensor  # float32 [A, N]: theirs

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of it, as the constructor takes it."""
        return self.tokens, self.chosen, self.ranks, self.top_ids, self.top_values

    def read(self, alternatives: Seq[int] | None = None) -> list[TokenLogprob]:
        """As it is told, one a row. This waits for the device, unless it lies on the host.

        Args:
            alternatives: how many of the N to tell for each row; None for all.
        """
        tokens, chosen, ranks, ids, values = (tensor.tolist() for tensor in self.tensors)
        counts = [self.top_ids.shape[1]] * len(tokens) if alternatives is None else alternatives
        return [
            TokenLogprob(token, logprob, rank, list(zip(of[:count], by[:count], strict=True)))
            for token, logprob, rank, of, by, count in zip(tokens, chosen, ranks, ids, values, counts, strict=True)
        ]


def score(logits: Tensor, tokens: Tensor, alternatives: int) -> Scored:
    """Before penalties, bias and temperature, as in OpenAI's API and vLLM's default: what the model itself says.

    Nothing here waits for the device.

    Args:
        logits: float32 `[A, V]`.
        tokens: int64 `[A]` on the logits' device: the chosen token of each row.
        alternatives: how many of the likeliest tokens to report beside it; may be 0.
    """
    if logits.device.type != "cpu":
        return _score(logits, tokens, alternatives)
    rows = max(CPU_ROWS, torch.get_num_threads())
    pieces = zip(torch.split(logits, rows), torch.split(tokens, rows), strict=True)
    parts = [_score(*piece, alternatives).tensors for piece in pieces]
    return Scored(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _score(logits: Tensor, tokens: Tensor, alternatives: int) -> Scored:
    chosen, logsum = logits.gather(1, tokens[:, None]), logits.logsumexp(dim=-1)  # [A, 1], [A]
    ranks = (logits > chosen).sum(dim=-1) + 1  # [A]
    return Scored(tokens, chosen[:, 0] - logsum, ranks, *_top(logits, logsum, alternatives))


def score_rows(logits: Tensor, rows: Tensor, tokens: Tensor, alternatives: int) -> Scored:
    """`score` of some rows on a GPU, in two launches besides the alternatives.

    Args:
        logits: float32 `[R, V]`.
        rows: int64 `[A]`.
        tokens: int64 `[A]`: of these rows.
        alternatives: see `score`.
    """
    from loraplex_kernels.ops.sampling.triton_score import score_triton

    logsum, ranks = score_triton(logits, rows, tokens)
    top_ids, top_values = _top(logits if alternatives == 0 else logits.index_select(0, rows), logsum, alternatives)
    return Scored(tokens, logits[rows, tokens] - logsum, ranks, top_ids, top_values)


def score_likeliest(logits: Tensor, tokens: Tensor, logsum: Tensor, alternatives: int) -> Scored:
    """`score` where each row's token is its likeliest, and what `argmax_triton` found on the way is at hand.

    Args:
        logits: float32 `[A, V]`.
        tokens: int64 `[A]`.
        logsum: float32 `[A]`.
        alternatives: see `score`.
    """
    chosen = logits.gather(1, tokens[:, None])[:, 0] - logsum
    return Scored(tokens, chosen, torch.ones_like(tokens), *_top(logits, logsum, alternatives))


def _top(logits: Tensor, logsum: Tensor, alternatives: int) -> tuple[Tensor, Tensor]:
    if alternatives == 0:
        empty = (len(logsum), 0)
        return logsum.new_empty(empty, dtype=torch.int64), logsum.new_empty(empty)
    top = logits.topk(min(alternatives, logits.shape[1]), dim=-1)
    return top.indices, top.values - logsum[:, None]


def token_logprobs(logits: Tensor, tokens: Seq[int], alternatives: int) -> list[TokenLogprob]:
    """`score` of tokens that the host knows, and its result at once.

    Args:
        logits: float32 `[A, V]`.
        tokens: of each row.
        alternatives: see `score`.
    """
    if not tokens:
        return []
    return score(logits, torch.tensor(tokens, dtype=torch.int64, device=logits.device), alternatives).read()
