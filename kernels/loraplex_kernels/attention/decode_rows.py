"""Decoding steps at fixed addresses: what was recorded once, graph or tape, computes all that is written there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from loraplex_kernels.attention.batch import AttentionBatch, Span
from loraplex_kernels.attention.decode_shape import DecodeShape, StepTensors
from loraplex_kernels.upload import packed, unpacked, upload


class DecodeRows:
    """Tensors of up to `rows` sequences that decode. A batch of n rows is the first n of the same memory.

    All rows past the step's own are padding, as AttentionBatch says, so a step may be read by a batch that is larger.

    A block table is as wide as the longest context that is allowed, 2 MB for 64 rows of 131,072 tokens in blocks of 16.
    From one step to the next a sequence gets a block at most, so what the tensor holds is remembered, and only cells
    that change are written.

    Args:
        rows: the most sequences.
        max_context: tokens of the longest sequence. The grids of a GPU's kernels are sized for it.
        block_size: of the KV cache.
        device: where the tensors lie.

    Raises:
        ValueError: a size is not positive.
    """

    def __init__(self, rows: int, max_context: int, block_size: int, device: torch.device) -> None:
        self.shape, self._device = DecodeShape(rows, max_context, block_size), device
        arrays = self._arrays(())
        self._bytes = packed(arrays, device).to(device)
        self._positions, self._slots, self._context = unpacked(self._bytes, arrays)
        self._query_start = torch.arange(rows + 1, dtype=torch.int32, device=device)
        self._table = torch.zeros(rows, self.shape.blocks, dtype=torch.int32, device=device)
        self._known: list[Sequence[int]] = [()] * rows  # what each row of the table begins with
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
        """Write a step, in the order of the current stream; the host does not wait for it.

        Args:
            spans: one row each, in the order of the rows.

        Raises:
            ValueError: they do not fit.
        """
        self.shape.check(spans)
        self._bytes.copy_(packed(self._arrays(spans), self._device), non_blocking=True)
        self._load_table(spans)

    def _load_table(self, spans: Sequence[Span]) -> None:
        width = self.shape.blocks
        changed: dict[int, Sequence[int]] = {}
        places, blocks = [], []
        for row, span in enumerate(spans):
            wanted, known = span.block_table[:width], self._known[row]  # one more may be reserved already
            shared = min(len(wanted), len(known))
            first = shared if wanted[:shared] == known[:shared] else 0
            if first < len(wanted):
                changed[row] = wanted
                places.append(np.arange(row * width + first, row * width + len(wanted)))
                blocks.append(np.array(wanted[first:], dtype=np.int32))
        if changed:
            where, what = upload([np.concatenate(places), np.concatenate(blocks)], self._device)
            self._table.view(-1).index_copy_(0, where, what)
            for row, wanted in changed.items():
                self._known[row] = wanted

    def _arrays(self, spans: Sequence[Span]) -> list[np.ndarray]:
        """Positions, slots and contexts of all rows."""
        block_size = self.shape.block_size
        contexts = np.zeros(self.shape.rows, dtype=np.int32)
        slots = np.full(self.shape.rows, -1, dtype=np.int64)
        for row, span in enumerate(spans):
            contexts[row] = span.context
            block, offset = divmod(span.context - 1, block_size)
            slots[row] = span.block_table[block] * block_size + offset
        positions = np.maximum(contexts.astype(np.int64) - 1, 0)
        return [positions, slots, contexts]
