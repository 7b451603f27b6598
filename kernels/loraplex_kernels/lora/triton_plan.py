"""What the Triton kernels read of a step: its blocks of rows, as arrays on the device."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from loraplex_kernels.lora.batch import Run, overlap
from loraplex_kernels.lora.block_arrays import BlockArrays, Extent, pack
from loraplex_kernels.lora.table import AdapterTable
from loraplex_kernels.site_group import SiteGroup
from loraplex_kernels.upload import upload

# Rows of a block: 8 is the least that a tensor core takes. Decoding rows seldom share an adapter, and rows that a block
# lacks cost registers all the same. A prefill chunk fills 64 or 128.
# The length of a run decides, so that a request's result does not hang on the other requests of the step.
DECODE_ROWS = 8
PREFILL_ROWS = 64
BULK_ROWS = 128
SIZES = (DECODE_ROWS, PREFILL_ROWS, BULK_ROWS)


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
        for run, size in zip(runs, _sizes(runs), strict=True):
            of_size.setdefault(size, []).append(run)
        self.arrays = tuple(_upload(of_size[size], size, device) for size in sorted(of_size))

    def highest_rank(self, table: AdapterTable) -> int:
        """Of the step's adapters, known without asking the device."""
        return table.highest_rank(self.slots)


def _sizes(runs: Sequence[Run]) -> list[int]:
    """Rows of the blocks that each run goes to.

    Runs that share a row go together, by the longest of them: one program must have all adapters of a row, since DoRA
    scales the base's output as it came in.
    """
    counts = [run.count for run in runs]
    if overlap(runs):
        together: list[int] = []
        end = 0
        for index in sorted(range(len(runs)), key=lambda index: runs[index].first):
            if runs[index].first >= end:
                together = []
            together.append(index)
            end = max(end, runs[index].first + runs[index].count)
            longest = max(counts[other] for other in together)
            for other in together:
                counts[other] = longest
    return [max(size for size in SIZES if size <= max(count, DECODE_ROWS)) for count in counts]


def _upload(runs: Sequence[Run], size: int, device: torch.device) -> BlockArrays:
    packed = pack(runs, size)
    extent = Extent(len(packed.row), len(packed.slot), size)
    memory = np.empty(extent.starts[-1], dtype=np.int32)
    extent.fill(memory, packed)
    (uploaded,) = upload([memory], device)  # one copy instead of five, that the host does not wait for
    return extent.arrays(uploaded)


@functools.lru_cache(maxsize=4096)
def group_tensor(group: SiteGroup, device: torch.device) -> Tensor:
    """int32 `[sites, 3]`: column of the table, first column of y, columns of y. Kept: every step asks for the same."""
    rows = list(zip(group.sites, group.offsets, group.widths, strict=True))
    return torch.tensor(rows, dtype=torch.int32, device=device)
