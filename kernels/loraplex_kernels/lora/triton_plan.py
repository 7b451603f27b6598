"""What the Triton kernels read of a step: its blocks of rows, as arrays on the device."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loraplex_kernels.lora.batch import Run
from loraplex_kernels.lora.blocks import cut
from loraplex_kernels.lora.group import SiteGroup
from loraplex_kernels.lora.table import AdapterTable

# Rows of a block: 16 is the least that a tensor core takes, and what decoding needs; a prefill chunk fills 64 or 128.
# The length of a run decides, so that a request's result does not hang on the other requests of the step.
DECODE_ROWS = 16
PREFILL_ROWS = 64
BULK_ROWS = 128
SIZES = (DECODE_ROWS, PREFILL_ROWS, BULK_ROWS)


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


class StepPlan(Protocol):
    """What the launches want to know of a step."""

    @property
    def arrays(self) -> tuple[BlockArrays, ...]:
        """One for each size of blocks that the step has; no row is in two of them."""
        ...

    def highest_rank(self, table: AdapterTable) -> int:
        """No adapter of the step has a higher one at any site."""
        ...


class TritonPlan:
    """One step's work on a GPU, copied there once and used by every linear of the model."""

    def __init__(self, runs: Sequence[Run], device: torch.device) -> None:
        self.slots = tuple({run.slot for run in runs})
        of_size: dict[int, list[Run]] = {}
        for run in runs:
            of_size.setdefault(_size_of(run), []).append(run)
        self.arrays = tuple(_upload(pack(of_size[size], size), size, device) for size in sorted(of_size))

    def highest_rank(self, table: AdapterTable) -> int:
        """Of the step's adapters, known without asking the device."""
        return table.highest_rank(self.slots)


class Packed(NamedTuple):
    """The arrays of `BlockArrays`, in its order, on the host."""

    row: NDArray[np.int32]
    use_start: NDArray[np.int32]
    use_block: NDArray[np.int32]
    slot: NDArray[np.int32]
    weight: NDArray[np.float32]


def _size_of(run: Run) -> int:
    return max(size for size in SIZES if size <= max(run.count, DECODE_ROWS))


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


def as_arrays(packed: Tensor, blocks: int, uses: int, size: int) -> BlockArrays:
    """Views of int32 memory that holds the five arrays end to end."""
    parts = torch.split(packed, [blocks * size, blocks + 1, uses, uses, uses * size])
    return BlockArrays(
        size=size,
        row=parts[0].view(blocks, size),
        use_start=parts[1],
        use_block=parts[2],
        slot=parts[3],
        weight=parts[4].view(torch.float32).view(uses, size),
    )


def _upload(packed: Packed, size: int, device: torch.device) -> BlockArrays:
    # One copy to the device instead of five.
    flat = np.concatenate([array.ravel().view(np.int32) for array in packed])
    return as_arrays(torch.from_numpy(flat).to(device), len(packed.row), len(packed.slot), size)


@functools.lru_cache(maxsize=4096)
def group_tensor(group: SiteGroup, device: torch.device) -> Tensor:
    """int32 `[sites, 3]`: column of the table, first column of y, columns of y. Kept: every step asks for the same."""
    rows = list(zip(group.sites, group.offsets, group.widths, strict=True))
    return torch.tensor(rows, dtype=torch.int32, device=device)
