"""The one door to the low-rank update, whatever the device."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.lora.batch import LoraBatch
from loraplex_kernels.lora.cpu import add_lora_cpu
from loraplex_kernels.lora.table import AdapterTable
from loraplex_kernels.site_group import SiteGroup


def add_lora(y: Tensor, x: Tensor, group: SiteGroup, batch: LoraBatch, table: AdapterTable) -> None:
    """Add every adapter's update of the step to y, in place.

    Args:
        y: `[T, sum(group.widths)]`, the base's output, columns contiguous. Without the linear's bias where
            `batch.magnitude` is set, since DoRA scales W x and not the bias.
        x: `[T, K]`, the linears' input, of y's dtype, columns contiguous.
        group: the linears side by side in y.
        batch: the step's entries; rows in none are not touched.
        table: the adapters' weights, of y's dtype or int8.

    Raises:
        ValueError: the shapes or dtypes do not fit each other.
    """
    if y.shape[0] != x.shape[0] or y.shape[1] != sum(group.widths):
        raise ValueError(f"y is {list(y.shape)}: it must be [{x.shape[0]}, {sum(group.widths)}] for this group")
    if not y.dtype == x.dtype == table.dtype:
        raise ValueError(f"y, x and the adapter table must share a dtype, not {y.dtype}, {x.dtype}, {table.dtype}")
    if y.stride(1) != 1:
        raise ValueError("the columns of y must lie side by side")
    if y.is_cuda:
        from loraplex_kernels.lora.triton_op import add_lora_triton  # a machine without a GPU need not have triton

        add_lora_triton(y, x, group, batch, table)
        return
    add_lora_cpu(y, x, group, batch, table)
