"""What changes the logits before a token is chosen: penalties, biases, tokens that may not come yet."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from loraplex_server.engine.sequence import Sequence


@dataclass(frozen=True)
class Adjustments:
    """Changes of single logits; no logit twice in one list. They apply in this order."""

    repeated: Cells  # positive ones are divided by the amount, the others multiplied
    subtracted: Cells
    added: Cells
    banned: Cells  # become -inf; the amounts say nothing

    def arrays(self) -> list[npt.NDArray[Any]]:
        """As `adjust` takes them, on the host."""
        return [
            array for cells in (self.repeated, self.subtracted, self.added, self.banned) for array in cells.arrays()
        ]


@dataclass
class Cells:
    """Some logits of a step, and an amount for each."""

    rows: list[npt.NDArray[np.int64]] = field(default_factory=list)
    columns: list[npt.NDArray[np.int64]] = field(default_factory=list)
    amounts: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def add(self, row: int, columns: Seq[int] | npt.NDArray[np.int64], amounts: Any = 0.0) -> None:
        """`columns` of a row, with an amount for each, or one for all of them."""
        self.columns.append(np.asarray(columns, dtype=np.int64))
        self.rows.append(np.full(len(columns), row, dtype=np.int64))
        self.amounts.append(np.broadcast_to(np.asarray(amounts, dtype=np.float32), len(columns)))

    def arrays(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Rows, columns and amounts, `[n]` each."""
        if not self.rows:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        return np.concatenate(self.rows), np.concatenate(self.columns), np.concatenate(self.amounts)


def adjustments(sequences: Seq[Sequence], vocab: Seq[int], pending: Seq[int]) -> Adjustments | None:
    """What the sequences ask for; None where none asks for anything.

    Repetition penalty: Keskar et al., CTRL (2019), over prompt and output, as in transformers and vLLM. Presence and
    frequency penalties: OpenAI's definition, over the output.

    Args:
        sequences: of each row.
        vocab: of each row. A prompt may have tokens that its adapter knows but never chooses, which have no logit.
        pending: of each row, the tokens that were chosen and are not in the sequence yet.

    Raises:
        ValueError: a sequence `reads_output` and has pending tokens, or a bias is for a token without a logit.
    """
    found = Adjustments(Cells(), Cells(), Cells(), Cells())
    for row, (sequence, width, ahead) in enumerate(zip(sequences, vocab, pending, strict=True)):
        sampling = sequence.sampling
        if sequence.reads_output:
            if ahead:
                raise ValueError(f"{sequence.request_id} reads its output, and some of its tokens are still pending")
            _penalize(found, row, sequence, width)
        if sampling.logit_bias:
            ids = list(sampling.logit_bias)
            if not 0 <= min(ids) <= max(ids) < width:
                raise ValueError(f"{sequence.request_id} has a bias for a token outside of its vocabulary of {width}")
            found.added.add(row, ids, list(sampling.logit_bias.values()))
        if banned := banned_tokens(sequence, ahead):
            found.banned.add(row, sorted(_known(banned, width)))
    cells = (found.repeated, found.subtracted, found.added, found.banned)
    return found if any(each.rows for each in cells) else None


def banned_tokens(sequence: Sequence, ahead: int) -> set[int]:
    """Tokens that may not come next: stop tokens before `min_tokens`, and what would complete one of the bad words.

    Args:
        sequence: that goes on.
        ahead: tokens that were chosen and are not in it yet; none where its bad words have several tokens.
    """
    sampling = sequence.sampling
    banned = set(sampling.stop_token_ids) if sequence.num_output + ahead < sampling.min_tokens else set()
    for word in sampling.bad_words:
        before = len(word) - 1
        if before == 0 or (before <= sequence.num_output and tuple(sequence.tokens[-before:]) == word[:-1]):
            banned.add(word[-1])
    return banned


def _penalize(found: Adjustments, row: int, sequence: Sequence, width: int) -> None:
    sampling = sequence.sampling
    if sampling.repetition_penalty != 1.0:
        seen = np.unique(np.asarray(sequence.real_tokens, dtype=np.int64))
        found.repeated.add(row, seen[seen < width], sampling.repetition_penalty)
    if sampling.presence_penalty or sampling.frequency_penalty:
        tokens, times = np.unique(np.asarray(sequence.output, dtype=np.int64), return_counts=True)
        by = np.float32(sampling.presence_penalty) + np.float32(sampling.frequency_penalty) * times.astype(np.float32)
        found.subtracted.add(row, tokens, by)


def _known(tokens: Iterable[int], width: int) -> list[int]:
    return [token for token in tokens if token < width]


def adjust(logits: Tensor, arrays: Seq[Tensor]) -> Tensor:
    """The logits from which to choose: a new tensor, since the raw ones are still needed for log probabilities.

    Args:
        logits: float32 `[R, V]`.
        arrays: `Adjustments.arrays`, on the logits' device.
    """
    adjusted = logits.clone()
    rows, columns, factors = arrays[:3]
    values = adjusted[rows, columns]
    adjusted[rows, columns] = torch.where(values > 0, values / factors, values * factors)
    rows, columns, amounts = arrays[3:6]
    adjusted[rows, columns] -= amounts
    rows, columns, amounts = arrays[6:9]
    adjusted[rows, columns] += amounts
    rows, columns, amounts = arrays[9:]
    # Not a scalar: that one would be copied to the device, and the host would wait for it.
    adjusted[rows, columns] = torch.full_like(amounts, -torch.inf)
    return adjusted
