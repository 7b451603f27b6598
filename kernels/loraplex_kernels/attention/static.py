"""A decoding step at fixed addresses, so that a CUDA graph captured once computes every step written into it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from loraplex_kernels.attention.batch import AttentionBatch, Span
from loraplex_kernels.attention.decode_shape import DecodeShape, StepTensors
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
        self.shape, self._device = DecodeShape(rows, max_context, block_size), device
        arrays = self._arrays(())
        self._bytes = packed(arrays, device).to(device)
        self.batch = self.shape.batch(StepTensors(*unpacked(self._bytes, arrays)))

    def fill(self, spans: Sequence[Span]) -> None:
        """Write a step into `batch`; the host does not wait for the copy.

        Args:
            spans: of at most `rows` sequences, in the order of the batch's rows, each with one row.

        Raises:
            ValueError: the spans do not fit.
        """
        self.shape.check(spans)
        self._bytes.copy_(packed(self._arrays(spans), self._device), non_blocking=True)

    def _arrays(self, spans: Sequence[Span]) -> list[np.ndarray]:
        """In the order of StepTensors."""
        rows, width, block_size = self.shape.rows, self.shape.blocks, self.shape.block_size
        table = np.zeros((rows, width), dtype=np.int32)
        contexts = np.zeros(rows, dtype=np.int32)
        slots = np.full(rows, -1, dtype=np.int64)
        for row, span in enumerate(spans):
            blocks = span.block_table[:width]  # one more may be reserved already
            table[row, : len(blocks)] = blocks
            contexts[row] = span.context
            block, offset = divmod(span.context - 1, block_size)
            slots[row] = blocks[block] * block_size + offset
        positions = np.maximum(contexts.astype(np.int64) - 1, 0)
        return [positions, slots, np.arange(rows + 1, dtype=np.int32), contexts, table]
