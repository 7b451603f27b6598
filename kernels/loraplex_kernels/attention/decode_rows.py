"""Decoding steps of every size at fixed addresses, so that a tape recorded once computes every step written there."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from loraplex_kernels.attention.batch import AttentionBatch, Span


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
        for name, size in (("rows", rows), ("max_context", max_context), ("block_size", block_size)):
            if size < 1:
                raise ValueError(f"{name} must be positive, not {size}")
        self.rows, self.max_context, self.block_size = rows, max_context, block_size
        self._positions = torch.zeros(rows, dtype=torch.int64)
        self._slots = torch.full((rows,), -1, dtype=torch.int64)
        self._query_start = torch.arange(rows + 1, dtype=torch.int32)
        self._context = torch.zeros(rows, dtype=torch.int32)
        self._table = torch.zeros(rows, -(-max_context // block_size), dtype=torch.int32)
        self._batches: dict[int, AttentionBatch] = {}

    def batch(self, rows: int) -> AttentionBatch:
        """What reads the first rows of the step that was loaded last."""
        if rows not in self._batches:
            self._batches[rows] = AttentionBatch(
                query_start=self._query_start[: rows + 1],
                context=self._context[:rows],
                block_table=self._table[:rows],
                positions=self._positions[:rows],
                slot_mapping=self._slots[:rows],
                units=torch.empty(0, 2, dtype=torch.int32),
                block_size=self.block_size,
                query_counts=(1,) * rows,
                context_lens=(self.max_context,) * rows,
                static=True,
            )
        return self._batches[rows]

    def load(self, spans: Sequence[Span]) -> None:
        """Write a step.

        Args:
            spans: one row each, in the order of the rows.

        Raises:
            ValueError: they do not fit.
        """
        if len(spans) > self.rows:
            raise ValueError(f"{len(spans)} sequences do not fit {self.rows} rows")
        positions, slots, context, table = (
            tensor.numpy() for tensor in (self._positions, self._slots, self._context, self._table)
        )
        width = table.shape[1]
        for row, span in enumerate(spans):
            last = span.context - 1
            block = last // self.block_size
            if span.count != 1 or not 0 <= last < self.max_context or block >= len(span.block_table):
                raise ValueError(
                    f"a sequence of {span.count} rows, a context of {span.context} and {len(span.block_table)} blocks "
                    f"does not fit one row each, {self.max_context} tokens at most and blocks of {self.block_size}"
                )
            positions[row] = last
            slots[row] = span.block_table[block] * self.block_size + last % self.block_size
            context[row] = span.context
            blocks = span.block_table[:width]  # one more may be reserved already
            table[row, : len(blocks)] = blocks
