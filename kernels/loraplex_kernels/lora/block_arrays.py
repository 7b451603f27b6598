"""Blocks of rows as the Triton kernels read them: five arrays in one piece of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loraplex_kernels.lora.batch import Run
from loraplex_kernels.lora.blocks import cut

# Triton compiles a kernel once for pointers that 16 bytes divide and once more for others: these always are.
_ALIGNMENT = 16  # elements of 4 bytes


@dataclass(frozen=True)
class BlockArrays:
    """The blocks of one size. A use is one adapter of one block; a block's uses are consecutive."""

    size: int  # M, rows a block has at most
    row: Tensor  # int32 [blocks, M]: row of x and y, -1 past a block's own
    use_start: Tensor  # int32 [blocks + 1]: first use of each block
    use_block: Tensor  # int32 [uses]
    slot: Tensor  # int32 [uses]: row of the table, -1: nothing to do
    weight: Tensor  # float32 [uses, M]

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.row.shape[0]

    @property
    def uses(self) -> int:
        """Number of uses."""
        return self.slot.shape[0]


class Packed(NamedTuple):
    """The arrays of `BlockArrays`, in its order, on the host."""

    row: NDArray[np.int32]
    use_start: NDArray[np.int32]
    use_block: NDArray[np.int32]
    slot: NDArray[np.int32]
    weight: NDArray[np.float32]


def pack(runs: Sequence[Run], size: int) -> Packed:
    """Cut runs into blocks of at most `size` rows."""
    blocks = cut(runs, size)
    row = np.full((len(blocks), size), -1, dtype=np.int32)
    counts = [len(block.slots) for block in blocks]
    weight = np.zeros((sum(counts), size), dtype=np.float32)
    use = 0
    for index, block in enumerate(blocks):
        row[index, : len(block.rows)] = block.rows
        weight[use : use + len(block.slots), : len(block.rows)] = block.weights
        use += len(block.slots)
    return Packed(
        row=row,
        use_start=np.cumsum([0, *counts], dtype=np.int32),
        use_block=np.repeat(np.arange(len(blocks), dtype=np.int32), counts),
        slot=np.array([slot for block in blocks for slot in block.slots], dtype=np.int32),
        weight=weight,
    )


@dataclass(frozen=True)
class Extent:
    """Room for so many blocks and uses.

    Args:
        blocks: of at most `size` rows.
        uses: of adapters, in all of them.
        size: rows of a block.
    """

    blocks: int
    uses: int
    size: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """Elements of each array, of 4 bytes all."""
        return (self.blocks * self.size, self.blocks + 1, self.uses, self.uses, self.uses * self.size)

    @property
    def starts(self) -> tuple[int, ...]:
        """First element of each array, and of what would follow."""
        return tuple(accumulate((-(-length // _ALIGNMENT) * _ALIGNMENT for length in self.lengths), initial=0))

    def fill(self, memory: NDArray[np.int32], packed: Packed) -> None:
        """Write the arrays into `memory` `[starts[-1]]`, each followed by what means nothing to do."""
        empty = (-1, len(packed.slot), 0, -1, 0)
        for array, start, length, nothing in zip(packed, self.starts, self.lengths, empty, strict=False):
            flat = array.ravel().view(np.int32)
            memory[start : start + len(flat)] = flat
            memory[start + len(flat) : start + length] = nothing

    def arrays(self, memory: Tensor) -> BlockArrays:
        """Views of int32 `[starts[-1]]`."""
        row, use_start, use_block, slot, weight = (
            memory[start : start + length] for start, length in zip(self.starts, self.lengths, strict=False)
        )
        return BlockArrays(
            size=self.size,
            row=row.view(self.blocks, self.size),
            use_start=use_start,
            use_block=use_block,
            slot=slot,
            weight=weight.view(torch.float32).view(self.uses, self.size),
        )
