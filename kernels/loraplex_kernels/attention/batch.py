"""The attention metadata of a step: which rows belong to which sequence, and where its keys and values lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


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
    """

    query_start: Tensor  # int32 [B + 1]
    context: Tensor  # int32 [B]
    block_table: Tensor  # int32 [B, most blocks], 0 past a sequence's own
    positions: Tensor  # int64 [T]
    slot_mapping: Tensor  # int64 [T]: block * block_size + offset of each row's own key and value
    block_size: int
    # The same on the host, so that no kernel's launch has to wait for the device to tell.
    query_counts: tuple[int, ...]  # [B]
    context_lens: tuple[int, ...]  # [B]

    @property
    def tokens(self) -> int:
        """T, the packed rows of the step."""
        return self.positions.shape[0]


def build_batch(spans: Sequence[Span], block_size: int, device: torch.device) -> AttentionBatch:
    """Lay the spans end to end."""
    counts = np.array([span.count for span in spans], dtype=np.int64)
    contexts = np.array([span.context for span in spans], dtype=np.int64)
    query_start = np.r_[0, np.cumsum(counts)]
    table = np.zeros((len(spans), max(len(span.block_table) for span in spans)), dtype=np.int32)
    for row, span in enumerate(spans):
        table[row, : len(span.block_table)] = span.block_table
    sequence = np.repeat(np.arange(len(spans)), counts)  # [T]
    positions = np.arange(query_start[-1]) + np.repeat(contexts - counts - query_start[:-1], counts)
    slot_mapping = table[sequence, positions // block_size].astype(np.int64) * block_size + positions % block_size

    def tensor(values: np.ndarray, dtype: type) -> Tensor:
        return torch.from_numpy(values.astype(dtype)).to(device)

    return AttentionBatch(
        query_start=tensor(query_start, np.int32),
        context=tensor(contexts, np.int32),
        block_table=tensor(table, np.int32),
        positions=tensor(positions, np.int64),
        slot_mapping=tensor(slot_mapping, np.int64),
        block_size=block_size,
        query_counts=tuple(counts.tolist()),
        context_lens=tuple(contexts.tolist()),
    )
