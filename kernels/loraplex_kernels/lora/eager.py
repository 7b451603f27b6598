"""The low-rank update through torch's own matrix products, one run at a time.

What serves where no native library is loaded, and for float16.
"""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.lora.batch import LoraBatch
from loraplex_kernels.lora.table import AdapterTable
from loraplex_kernels.lora.weights import SiteWeights
from loraplex_kernels.site_group import SiteGroup


def add_lora_eager(y: Tensor, x: Tensor, group: SiteGroup, batch: LoraBatch, table: AdapterTable) -> None:
    """Add every run's update; arguments and semantics as in `add_lora_naive`.

    Raises:
        ValueError: a magnitude is met, and the batch was not told that there is one.
    """
    base = y.clone() if batch.magnitude else None  # before any adapter
    for run in batch.runs:
        rows = slice(run.first, run.first + run.count)  # consecutive, so that x and y are sliced, never gathered
        for site, offset, width in zip(group.sites, group.offsets, group.widths, strict=True):
            cell = table.weights(run.slot, site)
            if cell is None or cell.a.shape[0] == 0:
                continue
            columns = slice(offset, offset + width)
            before = None if base is None else base[rows, columns]
            _add(y[rows, columns], x[rows], cell, run.weight, before)


def _add(y: Tensor, x: Tensor, cell: SiteWeights, weight: float, base: Tensor | None) -> None:
    """Add one adapter's update of one linear to y `[rows, width]`."""
    shrunk, b = _shrink(x, cell)
    if cell.magnitude is None:
        if b.dtype == y.dtype:
            y.addmm_(shrunk, b, alpha=weight * cell.scale)
        else:
            y.copy_(torch.addmm(y.to(b.dtype), shrunk, b, alpha=weight * cell.scale))
        return
    if base is None:
        raise ValueError("an adapter of the batch has a DoRA magnitude, which build_batch was not told")
    update = (shrunk @ b).float().mul_(cell.magnitude * (weight * cell.scale))  # [rows, width]
    update += base.float() * ((cell.magnitude - 1) * weight)
    y.copy_(y.float() + update)


def _shrink(x: Tensor, cell: SiteWeights) -> tuple[Tensor, Tensor]:
    """A x `[rows, rank]`, times the factor of int8 weights, and the B `[rank, width]` to multiply it with."""
    if cell.factor is None:
        return x @ cell.a.T, cell.b
    # Every dtype holds int8 exactly. But float16's range holds neither the sums nor their products with the factor.
    dtype = torch.float32 if x.dtype == torch.float16 else x.dtype
    shrunk = (x.to(dtype) @ cell.a.to(dtype).T).float() * cell.factor
    return shrunk.to(dtype), cell.b.to(dtype)
