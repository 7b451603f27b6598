"""Four-bit codes laid out in panels, as csrc/linear_int4.c reads them."""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import GroupedInts, Lookup
from loraplex_kernels.linear.panels import PANEL
from loraplex_kernels.pages import advise_huge_pages

_LANES = 16
_STEP_BYTES = _LANES * 4  # two inputs of 64 outputs
_MOST_BLOCK = 128  # inputs that are summed before they are scaled
_MIDDLE = 8
_SCALE_TYPES = (torch.float32, torch.bfloat16, torch.float16)  # by their numbers in `enum scale_type`
_ROWS_AT_ONCE = 1024


class _Packing(ctypes.Structure):
    """`struct packing_int4`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("codes", "out")),
        *((name, ctypes.c_int64) for name in ("inputs", "outputs", "group_steps", "header_bytes", "panel_bytes")),
    )


class Codes4:
    """Panels of 64 outputs, padded with outputs of zeros: a run of groups, each its scales, zero points and codes.

    Scales and zero points are kept in two bytes where two hold them exactly, else in four.

    Attributes:
        packed: int32, the panels one after the other.
        table: float32 `[16]`, what each code stands for; -8 .. 7 if `integers`.
        order: int32 `[K]` as in `GroupedInts`, or None.
        steps: of two inputs each, `ceil(K / 2)`.
        group_steps, block_steps: how many a group has, and those of them that are summed at a time.
        scale_type, zero_type: the kernel's numbers for their dtypes; -1 without zero points.

    Args:
        form: of four bits, on the CPU, its groups a multiple of 32 inputs or all of them.
        library: the compiled kernels.
    """

    def __init__(self, form: GroupedInts | Lookup, library: ctypes.CDLL) -> None:
        self.outputs, self.inputs = form.shape
        self.integers = isinstance(form, GroupedInts)
        if isinstance(form, GroupedInts):
            scale, zero, group = _narrowed(form.scale), form.zero, form.group
            self.table = torch.arange(-_MIDDLE, _MIDDLE, dtype=torch.float32)
            self.order = None if form.order is None else form.order.to(torch.int32)
        else:
            scale, zero, group = _narrowed(form.absmax), None, form.block
            self.table, self.order = form.table.to(torch.float32).contiguous(), None
        zero = None if zero is None else _narrowed(zero)
        self.scale_type = _SCALE_TYPES.index(scale.dtype)
        self.zero_type = -1 if zero is None else _SCALE_TYPES.index(zero.dtype)
        self.steps = -(-self.inputs // 2)
        if group >= self.inputs:
            self.group_steps, self.block_steps = self.steps, min(_MOST_BLOCK // 2, self.steps)
            self.group_steps = -(-self.steps // self.block_steps) * self.block_steps
        else:
            self.group_steps, self.block_steps = group // 2, math.gcd(group, _MOST_BLOCK) // 2
        self._groups = scale.shape[1]
        self._scale_bytes = PANEL * scale.itemsize
        self._header_bytes = self._scale_bytes + (0 if zero is None else PANEL * zero.itemsize)
        self.panel_bytes = self._groups * self._header_bytes + self.steps * _STEP_BYTES
        self._group_bytes = self._header_bytes + self.group_steps * _STEP_BYTES
        self._panels = -(-self.outputs // PANEL)
        self.packed = torch.empty(self._panels * self.panel_bytes // 4, dtype=torch.int32)
        advise_huge_pages(self.packed)
        self._pack(form.codes.contiguous(), library)
        self._header(scale.dtype, 0).copy_(_by_panel(scale, self._panels))
        if zero is not None:
            self._header(zero.dtype, self._scale_bytes).copy_(_by_panel(zero, self._panels))

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is kept."""
        return self.packed.nbytes + self.table.nbytes + (0 if self.order is None else self.order.nbytes)

    def rows(self, index: Tensor) -> Tensor:
        """int64 `[T]` to those rows of the weight, float32 `[T, K]`."""
        panel, output = index // PANEL, index % PANEL
        group = torch.arange(self.steps) // self.group_steps
        word = torch.arange(self.steps) * _LANES + (group + 1) * (self._header_bytes // 4)
        first = panel * (self.panel_bytes // 4) + output % _LANES
        lanes = self.packed[first[:, None] + word] >> (output // _LANES * 4)[:, None]
        codes = torch.stack((lanes & 15, lanes >> 16 & 15), dim=-1).flatten(1)[:, : self.inputs]
        scale = self._by_input(_SCALE_TYPES[self.scale_type], 0, panel, output)
        if not self.integers:
            return self.table[codes] * scale
        zero: Tensor | int = _MIDDLE
        if self.zero_type >= 0:
            zero = self._by_input(_SCALE_TYPES[self.zero_type], self._scale_bytes, panel, output)
        values = scale * (codes.to(torch.float32) - zero)
        return values if self.order is None else torch.empty_like(values).index_copy_(1, self.order.long(), values)

    def unpacked(self) -> Tensor:
        """The weight that is served, float32 `[N, K]`."""
        parts = torch.split(torch.arange(self.outputs), _ROWS_AT_ONCE)  # the indices of all at once would be gigabytes
        return torch.cat([self.rows(part) for part in parts])

    def _pack(self, codes: Tensor, library: ctypes.CDLL) -> None:
        packing = _Packing(
            codes.data_ptr(),
            self.packed.data_ptr(),
            self.inputs,
            self.outputs,
            self.group_steps,
            self._header_bytes,
            self.panel_bytes,
        )
        library.loraplex_linear_int4_pack(ctypes.byref(packing), torch.get_num_threads())

    def _header(self, dtype: torch.dtype, offset: int) -> Tensor:
        """Scales or zero points as a view: `[panels, groups, 64]`."""
        strides = [size // dtype.itemsize for size in (self.panel_bytes, self._group_bytes)]
        shape = (self._panels, self._groups, PANEL)
        return self.packed.view(dtype).as_strided(shape, (*strides, 1), offset // dtype.itemsize)

    def _by_input(self, dtype: torch.dtype, offset: int, panel: Tensor, output: Tensor) -> Tensor:
        """Those of some outputs, float32 `[T, K]`."""
        of_group = self._header(dtype, offset)[panel, :, output].to(torch.float32)
        return of_group[:, torch.arange(self.inputs) // (2 * self.group_steps)]


def _narrowed(values: Tensor) -> Tensor:
    """In the first of two bytes' formats that hold all of them exactly, else in float32."""
    wide = values.to(torch.float32)
    for dtype in _SCALE_TYPES[1:]:
        if torch.equal(wide.to(dtype).to(torch.float32), wide):
            return wide.to(dtype)
    return wide


def _by_panel(values: Tensor, panels: int) -> Tensor:
    """`[N, groups]` to `[panels, groups, 64]`, zeros after the last output."""
    padded = torch.nn.functional.pad(values, (0, 0, 0, panels * PANEL - len(values)))
    return padded.view(panels, PANEL, -1).transpose(1, 2)
