"""The attention metadata of a step: which rows belong to which sequence, and where its keys and values lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from loraplex_kernels.upload import upload

# Rows of a prefilling sequence that are planned together. A kernel's tile holds a part of them, with all query heads
# of one kv head, so that the plan is the same for every model.
UNIT_ROWS = 128


@dataclass(frozen=True)
class Span:
    """One sequence's share of a step: rows `[start, start + count)` of the packed batch."""

    count: int  # new tokens: 1 when it decodes, a chunk when it prefills
    context: int  # tokens in the KV cache once this step has written its own
    block_table: Sequence[int]  # blocks of the KV cache, in order of position


@dataclass(frozen=True)
class AttentionBatch:
    """Packed rows, no padding between sequences.

    Two sequences, one prefilling 3 tokens from scratch, one decoding its 10th, with blocks of 8:
    `query_start = [0, 3, 4]`, `context = [3, 10]`, `block_table = [[5, 0], [2, 9]]`,
    `positions = [0, 1, 2, 9]`, `slot_mapping = [40, 41, 42, 73]`.

    **Captured in a CUDA graph.** The kernels read lengths on the device alone: `query_start`, `context`,
    `block_table` and `slot_mapping`. The tuples on the host only size their grids. So a batch whose tensors stay where
    they are and whose tuples are bounds serves every step that is written into its tensors: `DecodeRows` makes and
    fills such batches, with `static=True`. What holds for them:

    - every sequence has one row: `query_start = [0, 1, ..., B]`, `query_counts = (1,) * B`;
    - `context_lens` is the longest context that will ever be written into `context`. It sizes the grid and never
      changes a bit of the result: a context is cut by its own length alone, and a program past its end returns;
    - a row of padding has `context = 0`, position 0 and slot -1: `write_kv` skips it and its attention is 0. Its row of
      the block table is not read;
    - the launches are the same for every content: one to write, one to attend, and one to merge where `context_lens`
      is above `triton_op.SPLIT`. Scratch is allocated through torch, hence from the graph's own pool.
    """

    query_start: Tensor  # int32 [B + 1]
    context: Tensor  # int32 [B]
    block_table: Tensor  # int32 [B, most blocks], 0 past a sequence's own
    positions: Tensor  # int64 [T]
    slot_mapping: Tensor  # int64 [T]: block * block_size + offset of each row's own key and value; -1 for none
    # int32 [U, 2]: sequence and first row, counted in the sequence, of every UNIT_ROWS rows of those that prefill. The
    # ones with the most to read stand first, so that the last programs to run are short.
    units: Tensor
    block_size: int
    # The same on the host, so that no kernel's launch has to wait for the device to tell.
    query_counts: tuple[int, ...]  # [B]
    context_lens: tuple[int, ...]  # [B]
    static: bool = False  # the tuples are bounds: only what reads the tensors computes the step

    @property
    def tokens(self) -> int:
        """T, the packed rows of the step."""
        return self.positions.shape[0]

    @cached_property
    def longest_decode(self) -> int:
        """The longest context of the sequences that have one row; 0 where there is none."""
        pairs = zip(self.query_counts, self.context_lens, strict=True)
        return max((context for count, context in pairs if count == 1), default=0)


def build_batch(spans: Sequence[Span], block_size: int, device: torch.device) -> AttentionBatch:
    """Lay the spans end to end, and bring what the device must know there in one copy."""
    counts = np.array([span.count for span in spans], dtype=np.int64)
    contexts = np.array([span.context for span in spans], dtype=np.int64)
    query_start = np.r_[0, np.cumsum(counts)]
    table = np.zeros((len(spans), max(len(span.block_table) for span in spans)), dtype=np.int32)
    for row, span in enumerate(spans):
        table[row, : len(span.block_table)] = span.block_table
    sequence = np.repeat(np.arange(len(spans)), counts)  # [T]
    positions = np.arange(query_start[-1]) + np.repeat(contexts - counts - query_start[:-1], counts)
    slot_mapping = table[sequence, positions // block_size].astype(np.int64) * block_size + positions % block_size
    arrays = (
        positions,
        slot_mapping,
        query_start.astype(np.int32),
        contexts.astype(np.int32),
        _units(counts, contexts),
        table,
    )
    tensors = upload(arrays, device)
    return AttentionBatch(
        positions=tensors[0],
        slot_mapping=tensors[1],
        query_start=tensors[2],
        context=tensors[3],
        units=tensors[4],
        block_table=tensors[5],
        block_size=block_size,
        query_counts=tuple(counts.tolist()),
        context_lens=tuple(contexts.tolist()),
    )


def _units(counts: np.ndarray, contexts: np.ndarray) -> np.ndarray:
    """`AttentionBatch.units`."""
    cut = np.where(counts > 1, -(-counts // UNIT_ROWS), 0)
    sequence = np.repeat(np.arange(len(counts)), cut)
    first = (np.arange(len(sequence)) - np.repeat(np.cumsum(cut) - cut, cut)) * UNIT_ROWS
    seen = contexts[sequence] - counts[sequence] + np.minimum(first + UNIT_ROWS, counts[sequence])
    order = np.argsort(-seen, kind="stable")
    return np.stack([sequence[order], first[order]], axis=1).astype(np.int32)
