"""What the Triton kernels read of a step: its blocks of rows, as arrays on the device."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from loraplex_kernels.lora.batch import Run
from loraplex_kernels.lora.blocks import cut
from loraplex_kernels.lora.group import SiteGroup

# Rows of a block: 16 is the least that a tensor core takes, and what decoding needs; a prefill chunk fills 64. The
# length of a run decides, so that a request's result does not hang on the other requests of the step.
DECODE_ROWS = 16
PREFILL_ROWS = 64


@dataclass(frozen=True)
class BlockArrays:
    """The blocks of one size. A use is one adapter of one block; a block's uses are consecutive."""

    size: int  # M, rows a block has at most
    row: Tensor  # int32 [blocks, M]: row of x and y, -1 past a block's own
    use_start: Tensor  # int32 [blocks + 1]: first use of each block
    use_block: Tensor  # int32 [uses]
    slot: Tensor  # int32 [uses]: row of the table
    weight: Tensor  # float32 [uses, M]

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.row.shape[0]

    @property
    def uses(self) -> int:
        """Number of uses."""
        return self.slot.shape[0]


class TritonPlan:
    """One step's work on a GPU, copied there once and used by every linear of the model."""

    def __init__(self, runs: Sequence[Run], device: torch.device) -> None:
        self.slots = tuple({run.slot for run in runs})
        short = [run for run in runs if run.count < PREFILL_ROWS]
        long = [run for run in runs if run.count >= PREFILL_ROWS]
        sizes = ((DECODE_ROWS, short), (PREFILL_ROWS, long))
        self.arrays = tuple(_upload(of_size, size, device) for size, of_size in sizes if of_size)


def _upload(runs: Sequence[Run], size: int, device: torch.device) -> BlockArrays:
    blocks = cut(runs, size)
    row = np.full((len(blocks), size), -1, dtype=np.int32)
    counts = [len(block.slots) for block in blocks]
    weight = np.zeros((sum(counts), size), dtype=np.float32)
    use = 0
    for index, block in enumerate(blocks):
        row[index, : len(block.rows)] = block.rows
        weight[use : use + len(block.slots), : len(block.rows)] = block.weights
        use += len(block.slots)
    use_start = np.cumsum([0, *counts], dtype=np.int32)
    use_block = np.repeat(np.arange(len(blocks), dtype=np.int32), counts)
    slot = np.array([slot for block in blocks for slot in block.slots], dtype=np.int32)
    # One copy to the device instead of five.
    arrays = (row, use_start, use_block, slot, weight.view(np.int32))
    packed = torch.from_numpy(np.concatenate([array.ravel() for array in arrays])).to(device)
    parts = torch.split(packed, [array.size for array in arrays])
    return BlockArrays(
        size=size,
        row=parts[0].view(row.shape),
        use_start=parts[1],
        use_block=parts[2],
        slot=parts[3],
        weight=parts[4].view(torch.float32).view(weight.shape),
    )


@functools.lru_cache(maxsize=4096)
def group_tensor(group: SiteGroup, device: torch.device) -> Tensor:
    """int32 `[sites, 3]`: column of the table, first column of y, columns of y. Kept: every step asks for the same."""
    rows = list(zip(group.sites, group.offsets, group.widths, strict=True))
    return torch.tensor(rows, dtype=torch.int32, device=device)
