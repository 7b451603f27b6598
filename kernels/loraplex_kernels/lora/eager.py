"""The low-rank update through torch's own matrix products, one run at a time.

What serves where no native library is loaded, for float16, and for long prefill runs on the CPU, whose products are
large enough for oneDNN.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from loraplex_kernels.lora.batch import LoraBatch, Run
from loraplex_kernels.lora.group import SiteGroup
from loraplex_kernels.lora.table import AdapterTable


def add_lora_eager(y: Tensor, x: Tensor, group: SiteGroup, batch: LoraBatch, table: AdapterTable) -> None:
    """Add every run's update; arguments and semantics as in `add_lora_naive`."""
    add_runs(y, x, group, batch.runs, table, y.clone() if batch.magnitude else None)


def add_runs(
    y: Tensor, x: Tensor, group: SiteGroup, runs: Iterable[Run], table: AdapterTable, base: Tensor | None
) -> None:
    """Add the updates of some of a batch's runs.

    Args:
        y: `[T, sum(group.widths)]`, changed in place.
        x: `[T, K]`.
        group: the linears side by side in y.
        runs: consecutive rows, so that x and y are sliced, never gathered.
        table: the adapters' weights, of x's dtype.
        base: y before any adapter, `[T, sum(group.widths)]`; may be None where no adapter has a magnitude.

    Raises:
        ValueError: a magnitude is met and there is no base.
    """
    for run in runs:
        rows = slice(run.first, run.first + run.count)
        for site, offset, width in zip(group.sites, group.offsets, group.widths, strict=True):
            cell = table.weights(run.slot, site)
            if cell is None or cell.a.shape[0] == 0:
                continue
            columns = slice(offset, offset + width)
            shrunk = x[rows] @ cell.a.T  # [rows, rank]
            if cell.magnitude is None:
                y[rows, columns].addmm_(shrunk, cell.b, alpha=run.weight * cell.scale)
                continue
            if base is None:
                raise ValueError("an adapter of the batch has a DoRA magnitude, which build_batch was not told")
            update = (shrunk @ cell.b).float().mul_(cell.magnitude * (run.weight * cell.scale))  # [rows, width]
            update += base[rows, columns].float() * ((cell.magnitude - 1) * run.weight)
            y[rows, columns] = (y[rows, columns].float() + update).to(y.dtype)
