"""The low-rank update on the CPU: through csrc/lora.c, or torch's matrix products where that is not there."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.launch import launch
from loraplex_kernels.lora.batch import LoraBatch
from loraplex_kernels.lora.cpu_plan import group_struct
from loraplex_kernels.lora.eager import add_lora_eager
from loraplex_kernels.lora.table import AdapterTable
from loraplex_kernels.lora.taped_step import TapedBatch
from loraplex_kernels.site_group import SiteGroup


class _Lora(ctypes.Structure):
    """`struct lora`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("step", "group", "x", "y")),
        *((name, ctypes.c_int64) for name in ("inputs", "x_stride", "y_stride")),
    )


def add_lora_cpu(y: Tensor, x: Tensor, group: SiteGroup, batch: LoraBatch, table: AdapterTable) -> None:
    """Add every adapter's update of the step to y.

    Semantics: those of `add_lora_naive`. In the kernel a row's adapters are summed in float32 and rounded once into y,
    and no bit of a row depends on the rows beside it; torch's way rounds A x and each adapter's update to y's dtype.

    Args:
        y: `[T, sum(group.widths)]`, unit stride along the columns; changed in place.
        x: `[T, K]`, of y's dtype.
        group: the linears side by side in y.
        batch: the step's entries.
        table: the adapters' weights, of y's dtype or int8.

    Raises:
        MemoryError: there is none for the intermediate values.
        TypeError: the batch is one for tapes, and the compiled kernel does not take y.
    """
    function = kernel()
    if function is None or y.dtype not in (torch.float32, torch.bfloat16):
        if isinstance(batch, TapedBatch):
            raise TypeError("only the compiled kernel knows what a taped batch leads to")
        add_lora_eager(y, x, group, batch, table)
        return
    if x.stride(1) != 1:
        x = x.contiguous()
    linears = group_struct(group)
    addresses = (batch.cpu_plan.bind(table), ctypes.addressof(linears), x.data_ptr(), y.data_ptr())
    launch(function, _Lora(*addresses, x.shape[1], x.stride(0), y.stride(0)), keep=linears)


@functools.cache
def kernel() -> ctypes._NamedFuncPointer | None:
    """The best build's `loraplex_lora`, None where there is none."""
    library = native.library()
    return None if library is None else library.loraplex_lora
