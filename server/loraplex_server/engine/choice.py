"""The next token of each row, and what is said of it, over each row's own vocabulary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from torch import Tensor

from loraplex_server.engine.logprobs import chosen_logprobs
from loraplex_server.engine.messages import TokenLogprob
from loraplex_server.engine.sampler import sample
from loraplex_server.engine.sequence import Sequence


@dataclass(frozen=True)
class Choice:
    """Of one row."""

    token: int | None  # None where the row's logits are not finite
    logprob: TokenLogprob | None  # where it was asked for


def choose(logits: Tensor, sequences: Seq[Sequence]) -> list[Choice]:
    """Choose a token for each row.

    Rows are sampled with those that have as large a vocabulary, over just that: what a row on the base gets does not
    depend, not in its last bit, on whether an adapter with more tokens is in the step.

    Args:
        logits: float32 `[R, widest]`.
        sequences: of each row.
    """
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, sequence in enumerate(sequences):
        rows_of[sequence.vocab or logits.shape[1]].append(row)
    if rows_of.keys() == {logits.shape[1]}:
        return _choose(logits, sequences)
    found: dict[int, Choice] = {}
    for vocab, rows in rows_of.items():
        found.update(zip(rows, _choose(logits[rows, :vocab], [sequences[row] for row in rows]), strict=True))
    return [found[row] for row in range(len(sequences))]


def _choose(logits: Tensor, sequences: Seq[Sequence]) -> list[Choice]:
    tokens = sample(logits, sequences)
    logprobs = chosen_logprobs(logits, sequences, [token or 0 for token in tokens])
    return [Choice(token, logprob) for token, logprob in zip(tokens, logprobs, strict=True)]
