"""One step's low-rank update, with the adapters that it uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gpu.popularity import renumbered, slots_of
from gpu.shapes import Shape
from loraplex_kernels.lora import (
    AdapterTable,
    LoraBatch,
    Run,
    SiteGroup,
    SiteShape,
    add_lora_naive,
    build_batch,
    plan,
)
from loraplex_kernels.lora.workload import random_table

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

    def repeated(self, count: int) -> list[LoraCase]:
        """This case and others that are the same, each with memory of its own for all that is read."""
        used, first = sorted(set(self.slots)), self.table.slots
        self.table.grow(first + (count - 1) * len(used))
        cases = [self]
        for number in range(count - 1):
            moved = {slot: first + number * len(used) + index for index, slot in enumerate(used)}
            for slot, other in moved.items():
                self._install_copy(slot, other)
            slots = [moved[slot] for slot in self.slots]
            batch = _batch(slots, self.x.device)
            cases.append(replace(self, x=self.x.clone(), y=self.y.clone(), batch=batch, slots=slots))
        return cases

    def _install_copy(self, slot: int, other: int) -> None:
        cell = self.table.weights(slot, 0)
        if cell is None:
            raise ValueError("each adapter of a case is on each linear")
        shapes, int8 = _sites(self.shape, self.ranks[slot % len(self.ranks)]), self.table.int8
        whole = torch.empty(0, dtype=torch.uint8, device=self.x.device).set_(cell.a.untyped_storage())
        self.table.install(other, plan(shapes, self.table.dtype.itemsize, int8=int8), whole.clone())


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
    slots = renumbered(slots_of(popularity, rows, ADAPTERS))
    group = SiteGroup(tuple(range(len(shape.widths))), shape.widths)
    adapters = [_sites(shape, ranks[slot % len(ranks)]) for slot in range(max(slots) + 1)]
    table = random_table(adapters, dtype, device, seed=1, sites=len(group.sites), int8=int8)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(rows, shape.in_features, generator=generator).to(device, dtype)
    y = torch.randn(rows, shape.out_features, generator=generator).to(device, dtype)
    return LoraCase(shape, rows, popularity, tuple(ranks), x, y, _batch(slots, device), table, group, slots)


def _sites(shape: Shape, rank: int) -> list[SiteShape]:
    return [SiteShape(site, shape.in_features, width, rank, 0.5) for site, width in enumerate(shape.widths)]


def _batch(slots: Sequence[int], device: torch.device) -> LoraBatch:
    batch = build_batch([Run(row, 1, slot) for row, slot in enumerate(slots)], device)
    if batch is None:
        raise ValueError("a case needs at least one row")
    return batch
