"""The table `[slot, site] -> where an adapter's weights lie`, which every LoRA kernel reads."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.lora.layout import AdapterLayout
from loraplex_kernels.lora.weights import SiteWeights, site_weights


class AdapterTable:
    """Rows are the adapters in memory, columns the model's linears.

    A row costs a few kilobytes, so there are as many as there are adapters; their weights lie in one buffer each,
    wherever the allocator put it. Addresses rather than offsets, because the buffers are separate allocations.

    Args:
        slots: rows; at least one, grown by `grow`.
        sites: columns.
        dtype: of A and B in every buffer (the magnitudes are float32 always).
        device: where the buffers and the table lie.
    """

    def __init__(self, slots: int, sites: int, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.device = device
        self.a = torch.zeros(slots, sites, dtype=torch.int64, device=device)  # address of A  [rank, in]
        self.b = torch.zeros(slots, sites, dtype=torch.int64, device=device)  # address of B transposed  [rank, out]
        self.magnitude = torch.zeros(slots, sites, dtype=torch.int64, device=device)  # of float32 [out], 0: no DoRA
        self.rank = torch.zeros(slots, sites, dtype=torch.int32, device=device)  # 0: the adapter leaves this site alone
        self.scale = torch.zeros(slots, sites, dtype=torch.float32, device=device)
        self._buffers: list[Tensor | None] = [None] * slots  # keeps alive what the addresses point at
        self._layouts: list[AdapterLayout | None] = [None] * slots

    @property
    def slots(self) -> int:
        """Number of rows."""
        return len(self._buffers)

    def install(self, slot: int, layout: AdapterLayout, buffer: Tensor) -> None:
        """Point a free row at an adapter's weights.

        Args:
            slot: a row that holds nothing.
            layout: made by `plan` for this table's dtype.
            buffer: uint8 `[layout.nbytes]` on the table's device, 64-byte aligned.

        Raises:
            ValueError: the row is taken, or the buffer does not fit the layout.
        """
        if self._buffers[slot] is not None:
            raise ValueError(f"slot {slot} is taken")
        if buffer.dtype != torch.uint8 or buffer.numel() < layout.nbytes:
            raise ValueError(f"a layout of {layout.nbytes} bytes needs a uint8 buffer of that size")
        base = buffer.data_ptr()
        for placement in layout.placements:
            site = placement.shape.site
            self.a[slot, site] = base + placement.a
            self.b[slot, site] = base + placement.b
            self.magnitude[slot, site] = 0 if placement.magnitude is None else base + placement.magnitude
            self.rank[slot, site] = placement.shape.rank
            self.scale[slot, site] = placement.shape.scale
        self._buffers[slot] = buffer
        self._layouts[slot] = layout

    def clear(self, slot: int) -> None:
        """Empty a row and let go of its buffer."""
        for column in (self.a, self.b, self.magnitude, self.rank, self.scale):
            column[slot] = 0
        self._buffers[slot] = None
        self._layouts[slot] = None

    def grow(self, slots: int) -> None:
        """Add rows until there are `slots`."""
        extra = slots - self.slots
        if extra <= 0:
            return
        for name in ("a", "b", "magnitude", "rank", "scale"):
            column: Tensor = getattr(self, name)
            setattr(self, name, torch.cat([column, column.new_zeros(extra, column.shape[1])]))
        self._buffers.extend([None] * extra)
        self._layouts.extend([None] * extra)

    def weights(self, slot: int, site: int) -> SiteWeights | None:
        """The arrays of one cell as tensors (views into the buffer), or None where the adapter leaves the site alone."""
        buffer, layout = self._buffers[slot], self._layouts[slot]
        if buffer is None or layout is None:
            return None
        for placement in layout.placements:
            if placement.shape.site == site:
                return site_weights(buffer, placement, self.dtype)
        return None
