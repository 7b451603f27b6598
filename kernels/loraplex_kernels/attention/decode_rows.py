"""Decoding steps of every size at fixed addresses, so that a tape recorded once computes every step written there."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from loraplex_kernels.attention.batch import AttentionBatch, Span
from loraplex_kernels.attention.decode_shape import DecodeShape, StepTensors


class DecodeRows:
    """Tensors of up to `rows` sequences that decode, on the CPU.

    `DecodeBuffers` are for GPUs: one for each size that is captured, with padding, filled by one copy. Here a batch of
    n rows is the first n of the same memory, there is no padding, and no row beyond those of a step is touched.

    Args:
        rows: the most sequences.
        max_context: tokens of the longest sequence.
        block_size: of the KV cache.

    Raises:
        ValueError: a size is not positive.
    """

    def __init__(self, rows: int, max_context: int, block_size: int) -> None:
        self.shape = DecodeShape(rows, max_context, block_size)
        self._positions = torch.zeros(rows, dtype=torch.int64)
        self._slots = torch.full((rows,), -1, dtype=torch.int64)
        self._query_start = torch.arange(rows + 1, dtype=torch.int32)
        self._context = torch.zeros(rows, dtype=torch.int32)
        self._table = torch.zeros(rows, self.shape.blocks, dtype=torch.int32)
        self._batches: dict[int, AttentionBatch] = {}

    def batch(self, rows: int) -> AttentionBatch:
        """What reads the first rows of the step that was loaded last."""
        if rows not in self._batches:
            self._batches[rows] = self.shape.batch(
                StepTensors(
                    self._positions[:rows],
                    self._slots[:rows],
                    self._query_start[: rows + 1],
                    self._context[:rows],
                    self._table[:rows],
                )
            )
        return self._batches[rows]

    def load(self, spans: Sequence[Span]) -> None:
        """Write a step.

        Args:
            spans: one row each, in the order of the rows.

        Raises:
            ValueError: they do not fit.
        """
        self.shape.check(spans)
        block_size = self.shape.block_size
        positions, slots, context, table = (
            tensor.numpy() for tensor in (self._positions, self._slots, self._context, self._table)
        )
        width = table.shape[1]
        for row, span in enumerate(spans):
            last = span.context - 1
            positions[row] = last
            slots[row] = span.block_table[last // block_size] * block_size + last % block_size
            context[row] = span.context
            blocks = span.block_table[:width]  # one more may be reserved already
            table[row, : len(blocks)] = blocks
