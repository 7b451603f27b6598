"""The low-rank update on the CPU: short runs through csrc/lora.c, long ones through torch's matrix products."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.launch import launch
from loraplex_kernels.lora.batch import LoraBatch
from loraplex_kernels.lora.cpu_plan import group_struct
from loraplex_kernels.lora.eager import add_lora_eager, add_runs
from loraplex_kernels.lora.group import SiteGroup
from loraplex_kernels.lora.table import AdapterTable


class _Lora(ctypes.Structure):
    """`struct lora`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("step", "group", "x", "y", "base")),
        *((name, ctypes.c_int64) for name in ("inputs", "x_stride", "y_stride", "base_stride")),
    )


def add_lora_cpu(y: Tensor, x: Tensor, group: SiteGroup, batch: LoraBatch, table: AdapterTable) -> None:
    """Add every adapter's update of the step to y.

    Semantics: those of `add_lora_naive`. In the kernel a row's adapters are summed in float32 and rounded once into y;
    torch's way rounds A x and each adapter's update to y's dtype.

    Args:
        y: `[T, sum(group.widths)]`, unit stride along the columns; changed in place.
        x: `[T, K]`, of y's dtype.
        group: the linears side by side in y.
        batch: the step's entries.
        table: the adapters' weights, of y's dtype or int8.

    Raises:
        MemoryError: there is none for the intermediate values.
    """
    function = kernel()
    if function is None or y.dtype not in (torch.float32, torch.bfloat16):
        add_lora_eager(y, x, group, batch, table)
        return
    plan = batch.cpu_plan
    # The kernel reads the base's output before it writes; only where torch writes first must it be kept.
    base = y.clone() if batch.magnitude and plan.bulk else None
    add_runs(y, x, group, plan.bulk, table, base)
    if plan.blocks:
        _add_blocks(function, y, x, group, batch, table, y if base is None else base)


def _add_blocks(
    function: ctypes._NamedFuncPointer,
    y: Tensor,
    x: Tensor,
    group: SiteGroup,
    batch: LoraBatch,
    table: AdapterTable,
    base: Tensor,
) -> None:
    """Add all runs but the bulky; `base` is y before any adapter, or y itself where nothing was added yet."""
    if x.stride(1) != 1:
        x = x.contiguous()
    linears = group_struct(group)
    arguments = _Lora(
        *(batch.cpu_plan.bind(table), ctypes.addressof(linears)),
        *(x.data_ptr(), y.data_ptr(), base.data_ptr()),
        *(x.shape[1], x.stride(0), y.stride(0), base.stride(0)),
    )
    launch(function, arguments, keep=linears)


@functools.cache
def kernel() -> ctypes._NamedFuncPointer | None:
    """The best build's `loraplex_lora`, None where there is none."""
    library = native.library()
    return None if library is None else library.loraplex_lora
