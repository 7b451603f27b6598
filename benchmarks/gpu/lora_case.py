"""One step's low-rank update, with the adapters that it uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu.shapes import Shape
from loraplex_kernels.lora import AdapterTable, LoraBatch, Run, SiteGroup, SiteShape, add_lora_naive, build_batch
from loraplex_kernels.lora.workload import pick_slots, random_table

ADAPTERS = 100  # that popularity chooses among


@dataclass(frozen=True)
class LoraCase:
    """Inputs, and what they are to become."""

    shape: Shape
    rows: int
    popularity: str
    ranks: tuple[int, ...]
    x: Tensor
    y: Tensor
    batch: LoraBatch
    table: AdapterTable
    group: SiteGroup
    slots: list[int]  # of each row

    @property
    def distinct(self) -> int:
        """Adapters in use."""
        return len(set(self.slots))

    @property
    def nbytes(self) -> int:
        """Each adapter in use read once, x read once for each linear's group, y read and written."""
        cells = [self.table.weights(slot, site) for slot in set(self.slots) for site in self.group.sites]
        weights = sum(cell.a.nbytes + cell.b.nbytes for cell in cells if cell is not None)
        return weights + self.x.nbytes + 2 * self.y.nbytes

    def expected(self) -> Tensor:
        """float64 `[rows, N]`, by the formula."""
        y = self.y.double()
        add_lora_naive(y, self.x.double(), self.group, self.batch, self.table)
        return y


def lora_case(
    shape: Shape,
    rows: int,
    popularity: str,
    ranks: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
    *,
    int8: bool = False,
) -> LoraCase:
    """Random adapters and activations; adapter k has the rank `ranks[k % len(ranks)]`."""
    slots = pick_slots(popularity, rows, ADAPTERS, seed=0)
    group = SiteGroup(tuple(range(len(shape.widths))), shape.widths)
    adapters = [
        [
            SiteShape(site, shape.in_features, width, ranks[slot % len(ranks)], 0.5)
            for site, width in enumerate(shape.widths)
        ]
        for slot in range(max(slots) + 1)
    ]
    table = random_table(adapters, dtype, device, seed=1, sites=len(group.sites), int8=int8)
    batch = build_batch([Run(row, 1, slot) for row, slot in enumerate(slots)], device)
    if batch is None:
        raise ValueError("a case needs at least one row")
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(rows, shape.in_features, generator=generator).to(device, dtype)
    y = torch.randn(rows, shape.out_features, generator=generator).to(device, dtype)
    return LoraCase(shape, rows, popularity, tuple(ranks), x, y, batch, table, group, slots)
