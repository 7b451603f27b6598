"""The low-rank update in plain loops: what every other path is held against."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.lora.batch import LoraBatch
from loraplex_kernels.lora.table import AdapterTable
from loraplex_kernels.site_group import SiteGroup


def add_lora_naive(y: Tensor, x: Tensor, group: SiteGroup, batch: LoraBatch, table: AdapterTable) -> None:
    """Add every entry's update to y, one row and one site at a time.

    Semantics:
        for each entry (t, s, w) and each site of the group, with columns c of y:
            y[t, c] += w * scale * B (A x[t])                               without a magnitude
            y[t, c] += w * ((m - 1) * y0[t, c] + m * scale * B (A x[t]))    with DoRA's magnitude m
        where y0 is y as it came in. Sums are float32 (float64 where y is), rounded once into y. A x[t] is multiplied by
        the factor of int8 weights, element by element, before B is applied.

    Args:
        y: `[T, sum(group.widths)]`, the base's output; changed in place. Without the linear's bias where
            `batch.magnitude` is set, since DoRA scales W x and not the bias.
        x: `[T, K]`, the linears' input.
        group: the linears side by side in y.
        batch: the step's entries.
        table: the adapters' weights, of any floating dtype or int8.
    """
    wide = torch.float64 if y.dtype == torch.float64 else torch.float32
    base, total = y.to(wide), y.to(wide, copy=True)
    starts, slots = batch.start.tolist(), batch.slot.tolist()
    tokens, weights = batch.token.tolist(), batch.weight.tolist()
    for slot, begin, end in zip(slots, starts, starts[1:], strict=False):
        for t, w in zip(tokens[begin:end], weights[begin:end], strict=True):
            for site, offset, width in zip(group.sites, group.offsets, group.widths, strict=True):
                cell = table.weights(slot, site)
                if cell is None or cell.a.shape[0] == 0:
                    continue
                columns = slice(offset, offset + width)
                shrunk = cell.a.to(wide) @ x[t].to(wide)  # [rank]
                if cell.factor is not None:
                    shrunk *= cell.factor.to(wide)
                update = cell.scale * (cell.b.to(wide).T @ shrunk)  # [width]
                if cell.magnitude is not None:
                    m = cell.magnitude.to(wide)
                    update = (m - 1) * base[t, columns] + m * update
                total[t, columns] += w * update
    touched = sorted(set(tokens))  # the others keep their very bits
    y[touched] = total[touched].to(y.dtype)
