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
from loraplex_kernels.lora.group import SiteGroup
from loraplex_kernels.lora.table import AdapterTable

# From this many rows on, a run's products are large enough for torch's matrix multiplication to be the faster way.
# It is the length of a run that decides, never the number of rows that share an adapter: so what a request's
# tokens become does not hang on which other requests are in the step.
BULK_ROWS = 128

# Rows of one block: what one reading of an adapter's weights serves, and what one core at a time works on.
BLOCK_ROWS = 16


class _Step(ctypes.Structure):
    """`struct lora_step`."""

    _fields_ = (
        ("bf16", ctypes.c_int64),
        ("blocks", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("row_start", "row", "use_start", "slot", "weight")),
        ("sites", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("a", "b", "magnitude", "rank", "scale", "factor")),
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
        self.bulk = tuple(run for run in runs if run.count >= BULK_ROWS)
        blocks = cut([run for run in runs if run.count < BULK_ROWS], BLOCK_ROWS)
        self.blocks = len(blocks)
        rows, slots, weights = zip(*blocks, strict=True) if blocks else ((), (), ())
        # Python's own arrays: numpy and torch take several times as long to be made of as few numbers as these.
        self._arrays = {
            "row_start": array("i", accumulate(map(len, rows), initial=0)),
            "row": array("i", chain.from_iterable(rows)),
            "use_start": array("i", accumulate(map(len, slots), initial=0)),
            "slot": array("i", chain.from_iterable(slots)),
            "weight": array("f", chain.from_iterable(chain.from_iterable(weights))),
        }
        self._table: AdapterTable | None = None
        self._column: torch.Tensor | None = None
        self._step = _Step()

    def bind(self, table: AdapterTable) -> int:
        """Address of the `struct lora_step` of this plan's rows with a table's adapters."""
        if self._table is not table or self._column is not table.a:  # growing a table moves its columns
            columns = (table.a, table.b, table.magnitude, table.rank, table.scale, table.factor)
            self._table, self._column = table, table.a
            self._step = _Step(
                int(table.dtype == torch.bfloat16),
                self.blocks,
                *(numbers.buffer_info()[0] for numbers in self._arrays.values()),
                table.a.shape[1],
                *(column.data_ptr() for column in columns),
            )
        return ctypes.addressof(self._step)


@functools.lru_cache(maxsize=4096)
def group_struct(group: SiteGroup) -> ctypes.Structure:
    """`struct lora_group` of a group. Kept: a model has a few for each of its layers, and asks at every step."""
    arrays = [np.array(values, dtype=np.int64) for values in (group.sites, group.offsets, group.widths)]
    struct = _Group(len(group.sites), *(array.ctypes.data for array in arrays))
    struct.arrays = arrays  # they live as long as the addresses do
    return struct
