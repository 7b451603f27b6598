"""How large a decoding step at fixed addresses may be, and what reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from loraplex_kernels.attention.batch import AttentionBatch, Span


class StepTensors(NamedTuple):
    """Of a step of B rows, one for each sequence; see AttentionBatch."""

    positions: Tensor  # int64 [B]
    slot_mapping: Tensor  # int64 [B]
    query_start: Tensor  # int32 [B + 1]
    context: Tensor  # int32 [B]
    block_table: Tensor  # int32 [B, blocks of the longest context]


@dataclass(frozen=True)
class DecodeShape:
    """Bounds of the steps that are written to one place.

    Args:
        rows: the most sequences.
        max_context: tokens of the longest.
        block_size: of the KV cache.

    Raises:
        ValueError: one is not positive.
    """

    rows: int
    max_context: int
    block_size: int

    def __post_init__(self) -> None:
        for field in fields(self):
            if (size := getattr(self, field.name)) < 1:
                raise ValueError(f"{field.name} must be positive, not {size}")

    @property
    def blocks(self) -> int:
        """That hold the longest context."""
        return -(-self.max_context // self.block_size)

    def check(self, spans: Sequence[Span]) -> None:
        """Raise a ValueError unless all spans, of one row each, fit."""
        if len(spans) > self.rows:
            raise ValueError(f"{len(spans)} sequences do not fit {self.rows} rows")
        for span in spans:
            if (
                span.count != 1
                or not 0 < span.context <= self.max_context
                or len(span.block_table) * self.block_size < span.context
            ):
                raise ValueError(
                    f"a sequence of {span.count} rows, a context of {span.context} and {len(span.block_table)} blocks "
                    f"does not fit one row each, {self.max_context} tokens at most and blocks of {self.block_size}"
                )

    def batch(self, tensors: StepTensors) -> AttentionBatch:
        """What computes the step that is in these tensors whenever it runs."""
        rows = tensors.positions.shape[0]
        return AttentionBatch(
            **tensors._asdict(),
            units=torch.empty(0, 2, dtype=torch.int32, device=tensors.positions.device),
            block_size=self.block_size,
            query_counts=(1,) * rows,
            context_lens=(self.max_context,) * rows,
            static=True,
        )
