"""A decoding step at fixed addresses, so that a CUDA graph captured once computes every step written into it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from loraplex_kernels.attention.batch import AttentionBatch, Span
from loraplex_kernels.upload import packed, unpacked


class DecodeBuffers:
    """Tensors of up to `rows` sequences that decode, of up to `max_context` tokens each.

    One for each size that is captured: `batch` is what the captured model reads, `fill` writes the next step into it
    with one copy on the current stream. Rows past the step's own are padding, as AttentionBatch says.

    Args:
        rows: B, sequences of the batch, padding included.
        max_context: of the longest sequence. The graph's grids are sized for it.
        block_size: of the KV cache.
        device: where the tensors lie.

    Raises:
        ValueError: a size is not positive.
    """

    batch: AttentionBatch

    def __init__(self, rows: int, max_context: int, block_size: int, device: torch.device) -> None:
        for name, size in (("rows", rows), ("max_context", max_context), ("block_size", block_size)):
            if size < 1:
                raise ValueError(f"{name} must be positive, not {size}")
        self.rows, self.max_context, self.block_size, self.device = rows, max_context, block_size, device
        arrays = self._arrays(())
        self._bytes = packed(arrays, device).to(device)
        positions, slot_mapping, query_start, context, block_table = unpacked(self._bytes, arrays)
        self.batch = AttentionBatch(
            query_start=query_start,
            context=context,
            block_table=block_table,
            positions=positions,
            slot_mapping=slot_mapping,
            units=torch.empty(0, 2, dtype=torch.int32, device=device),
            block_size=block_size,
            query_counts=(1,) * rows,
            context_lens=(max_context,) * rows,
            static=True,
        )

    def fill(self, spans: Sequence[Span]) -> None:
        """Write a step into `batch`; the host does not wait for the copy.

        Args:
            spans: of at most `rows` sequences, in the order of the batch's rows, each with one row.

        Raises:
            ValueError: the spans do not fit.
        """
        if len(spans) > self.rows:
            raise ValueError(f"{len(spans)} sequences do not fit buffers of {self.rows}")
        for span in spans:
            if span.count != 1 or not 0 < span.context <= self.max_context:
                raise ValueError(
                    f"a sequence with {span.count} rows and a context of {span.context} does not fit buffers of one "
                    f"row each and up to {self.max_context} tokens"
                )
            if len(span.block_table) * self.block_size < span.context:
                raise ValueError(f"{len(span.block_table)} blocks do not hold a context of {span.context}")
        self._bytes.copy_(packed(self._arrays(spans), self.device), non_blocking=True)

    def _arrays(self, spans: Sequence[Span]) -> list[np.ndarray]:
        width = -(-self.max_context // self.block_size)
        table = np.zeros((self.rows, width), dtype=np.int32)
        contexts = np.zeros(self.rows, dtype=np.int32)
        slots = np.full(self.rows, -1, dtype=np.int64)
        for row, span in enumerate(spans):
            blocks = span.block_table[:width]  # one more may be reserved already
            table[row, : len(blocks)] = blocks
            contexts[row] = span.context
            block, offset = divmod(span.context - 1, self.block_size)
            slots[row] = blocks[block] * self.block_size + offset
        positions = np.maximum(contexts.astype(np.int64) - 1, 0)
        return [positions, slots, np.arange(self.rows + 1, dtype=np.int32), contexts, table]
