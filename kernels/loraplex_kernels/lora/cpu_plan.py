"""How the CPU kernel walks a step: which rows go together, in the arrays that csrc/lora.h describes."""

from __future__ import annotations

import ctypes
import functools
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np
import torch

from loraplex_kernels.lora.batch import Run
from loraplex_kernels.lora.blocks import cut
from loraplex_kernels.lora.table import AdapterTable
from loraplex_kernels.site_group import SiteGroup

# Rows of one block: what one core at a time works on. No sum hangs on it.
BLOCK_ROWS = 32


class CpuStep(ctypes.Structure):
    """`struct lora_step`."""

    _fields_ = (
        ("bf16", ctypes.c_int64),
        ("blocks", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("row_start", "row", "use_start", "slot", "weight_start", "weight")),
        ("sites", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("a", "b", "magnitude", "rank", "scale", "factor")),
        ("highest", ctypes.c_int64),
    )


class _Group(ctypes.Structure):
    """`struct lora_group`."""

    _fields_ = (("count", ctypes.c_int64), *((name, ctypes.c_void_p) for name in ("site", "offset", "width")))


class CpuPlan:
    """One step's work on the CPU, made once and used by every linear of the model.

    Args:
        runs: of the batch, sorted by slot.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        blocks = cut(runs, BLOCK_ROWS)
        self.blocks = len(blocks)
        rows, slots, weights = zip(*blocks, strict=True) if blocks else ((), (), ())
        # Python's own arrays: numpy and torch take several times as long to be made of as few numbers as these.
        self._arrays = (
            array("i", accumulate(map(len, rows), initial=0)),
            array("i", chain.from_iterable(rows)),
            array("i", accumulate(map(len, slots), initial=0)),
            array("i", chain.from_iterable(slots)),
            array("i", accumulate((len(block.rows) * len(block.slots) for block in blocks), initial=0)),
            array("f", chain.from_iterable(chain.from_iterable(weights))),
        )
        self._slots = {run.slot for run in runs}
        self._table: AdapterTable | None = None
        self._column: torch.Tensor | None = None
        self._step = CpuStep()

    def bind(self, table: AdapterTable) -> int:
        """Address of the `struct lora_step` of this plan's rows with a table's adapters; it is the plan's own."""
        if self._table is not table or self._column is not table.a:  # growing a table moves its columns
            self._table, self._column = table, table.a
            self.write(self._step, table)
        return ctypes.addressof(self._step)

    def write(self, step: CpuStep, table: AdapterTable) -> None:
        """Have a step stand for this plan's rows with a table's adapters, for as long as the plan lives.

        What is kept from step to step, to be launched again, is given each step's plan in this way.
        """
        columns = (table.a, table.b, table.magnitude, table.rank, table.scale, table.factor)
        CpuStep.__init__(
            step,
            int(table.dtype == torch.bfloat16),
            self.blocks,
            *(numbers.buffer_info()[0] for numbers in self._arrays),
            table.a.shape[1],
            *(column.data_ptr() for column in columns),
            table.highest_rank(self._slots),
        )


@functools.lru_cache(maxsize=4096)
def group_struct(group: SiteGroup) -> ctypes.Structure:
    """`struct lora_group` of a group. Kept: a model has a few for each of its layers, and asks at every step."""
    arrays = [np.array(values, dtype=np.int64) for values in (group.sites, group.offsets, group.widths)]
    struct = _Group(len(group.sites), *(array.ctypes.data for array in arrays))
    struct.arrays = arrays  # they live as long as the addresses do
    return struct
