"""The table `[slot, site] -> where an adapter's weights lie`, which every LoRA kernel reads."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from loraplex_kernels.adapter_layout import ALIGNMENT, AdapterLayout, Placement
from loraplex_kernels.lora.weights import SiteWeights, site_weights
from loraplex_kernels.upload import upload

_NUMPY = {torch.int64: np.int64, torch.int32: np.int32, torch.float32: np.float32}


class AdapterTable:
    """Rows are the adapters in memory, columns the model's linears.

    A row costs a few kilobytes, so there are as many as there are adapters; their weights lie in one buffer each,
    wherever the allocator put it. Addresses rather than offsets, because the buffers are separate allocations.

    Args:
        slots: rows; at least one, grown by `grow`.
        sites: columns.
        dtype: of x and y, and of A and B in every buffer (the magnitudes are float32 always).
        device: where the buffers and the table lie.
        int8: A and B are int8 instead, with a factor for each rank.
    """

    def __init__(self, slots: int, sites: int, dtype: torch.dtype, device: torch.device, *, int8: bool = False) -> None:
        self.dtype = dtype
        self.device = device
        self.int8 = int8
        self.a = torch.zeros(slots, sites, dtype=torch.int64, device=device)  # address of A  [rank, in]
        self.b = torch.zeros(slots, sites, dtype=torch.int64, device=device)  # address of B transposed  [rank, out]
        self.magnitude = torch.zeros(slots, sites, dtype=torch.int64, device=device)  # of float32 [out], 0: no DoRA
        self.factor = torch.zeros(slots, sites, dtype=torch.int64, device=device)  # of float32 [rank], 0: not int8
        self.rank = torch.zeros(slots, sites, dtype=torch.int32, device=device)  # 0: the adapter leaves this site alone
        self.scale = torch.zeros(slots, sites, dtype=torch.float32, device=device)
        self.generation = 0  # of the columns' memory: `grow` moves them, and what remembers their addresses must ask
        self._buffers: list[Tensor | None] = [None] * slots  # keeps alive what the addresses point at
        self._placements: list[dict[int, Placement]] = [{} for _ in range(slots)]  # by site
        self._highest = [0] * slots
        self._cells: list[dict[int, SiteWeights]] = [{} for _ in range(slots)]  # by site, made when first asked for

    @property
    def slots(self) -> int:
        """Number of rows."""
        return len(self._buffers)

    def install(self, slot: int, layout: AdapterLayout, buffer: Tensor) -> None:
        """Point a free row at an adapter's weights.

        Args:
            slot: a row that holds nothing.
            layout: made by `plan` for this table's dtype, or for int8 where the table is.
            buffer: uint8 `[layout.nbytes]` on the table's device, 64-byte aligned.

        Raises:
            ValueError: the row is taken, or the buffer does not fit the layout, or the layout not the table.
        """
        if self._buffers[slot] is not None:
            raise ValueError(f"slot {slot} is taken")
        if any((placement.factor is not None) != self.int8 for placement in layout.placements):
            raise ValueError(f"the table's adapters are {'' if self.int8 else 'not '}int8, the layout is for others")
        if buffer.dtype != torch.uint8 or buffer.numel() < layout.nbytes:
            raise ValueError(f"a layout of {layout.nbytes} bytes needs a uint8 buffer of that size")
        base = buffer.data_ptr()
        if base % ALIGNMENT:
            raise ValueError(f"the buffer must start on a multiple of {ALIGNMENT} bytes")
        # A row of each column is filled on the host, and all go in one copy that nobody waits for: a load must not cost
        # a launch for every site.
        rows: dict[str, list[float]] = {name: [0] * column.shape[1] for name, column in self._columns()}
        for placement in layout.placements:
            shape = placement.shape
            rows["a"][shape.site] = base + placement.a
            rows["b"][shape.site] = base + placement.b
            rows["magnitude"][shape.site] = 0 if placement.magnitude is None else base + placement.magnitude
            rows["factor"][shape.site] = 0 if placement.factor is None else base + placement.factor
            rows["rank"][shape.site] = shape.rank
            rows["scale"][shape.site] = shape.scale
        filled = [np.array(rows[name], dtype=_NUMPY[column.dtype]) for name, column in self._columns()]
        for (_, column), row in zip(self._columns(), upload(filled, self.device), strict=True):
            column[slot] = row
        self._buffers[slot] = buffer
        self._placements[slot] = {placement.shape.site: placement for placement in layout.placements}
        self._highest[slot] = max((placement.shape.rank for placement in layout.placements), default=0)

    def clear(self, slot: int) -> None:
        """Empty a row and let go of its buffer."""
        for _, column in self._columns():
            column[slot] = 0
        self._buffers[slot] = None
        self._placements[slot] = {}
        self._highest[slot] = 0
        self._cells[slot] = {}

    def grow(self, slots: int) -> None:
        """Add rows until there are `slots`. The columns move: captured launches must be captured again."""
        extra = slots - self.slots
        if extra <= 0:
            return
        self.generation += 1
        for name, column in self._columns():
            setattr(self, name, torch.cat([column, column.new_zeros(extra, column.shape[1])]))
        self._buffers.extend([None] * extra)
        self._placements.extend({} for _ in range(extra))
        self._highest.extend([0] * extra)
        self._cells.extend({} for _ in range(extra))

    def weights(self, slot: int, site: int) -> SiteWeights | None:
        """The arrays of one cell, as views into the buffer; None where the adapter leaves the site alone."""
        cell = self._cells[slot].get(site)
        if cell is None:
            buffer, placement = self._buffers[slot], self._placements[slot].get(site)
            if buffer is None or placement is None:
                return None
            cell = self._cells[slot][site] = site_weights(buffer, placement, self.dtype)
        return cell

    def highest_rank(self, slots: Iterable[int]) -> int:
        """The largest rank that any of these adapters has at any site, known without asking the device."""
        return max((self._highest[slot] for slot in slots), default=0)

    def columns(self) -> tuple[Tensor, ...]:
        """All columns, `[slots, sites]` each, where they lie now."""
        return tuple(column for _, column in self._columns())

    def _columns(self) -> list[tuple[str, Tensor]]:
        return [(name, getattr(self, name)) for name in ("a", "b", "magnitude", "factor", "rank", "scale")]
