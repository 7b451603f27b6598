"""Rows: conversations laid end to end, so that hardly a token of a training batch is padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.conversation import IGNORED, Conversation

_ROW_LENGTH = 128


@dataclass(frozen=True)
class Rows:
    """A batch. Positions start again with each conversation: transformers reads from that what may attend to what.

    Shapes: input_ids, position_ids, labels: int64 [rows, length]; labels are those of the same place, unshifted.
    """

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor

    def loss(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy of the answers. Args: logits: [rows, length, vocab]."""
        return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), self.labels[:, 1:].flatten(), ignore_index=IGNORED)


def _row(conversations: Iterator[Conversation], waiting: Conversation) -> tuple[list[list[int]], Conversation]:
    """One row as [ids, positions, labels], begun with `waiting`; and the conversation that did not fit any more."""
    ids: list[int] = []
    positions: list[int] = []
    labels: list[int] = []
    while len(ids) + len(waiting.ids) <= _ROW_LENGTH:
        ids += waiting.ids
        positions += range(len(waiting.ids))
        labels += waiting.labels
        waiting = next(conversations)
    rest = _ROW_LENGTH - len(ids)
    return [ids + [0] * rest, [*positions, *range(rest)], labels + [IGNORED] * rest], waiting


def batches(conversations: Iterable[Conversation], rows: int) -> Iterator[Rows]:
    """Endless batches of `rows` rows from an endless supply of conversations."""
    supply = iter(conversations)
    waiting = next(supply)
    while True:
        columns = []
        for _ in range(rows):
            row, waiting = _row(supply, waiting)
            columns.append(row)
        yield Rows(*torch.tensor(columns).unbind(1))
