"""A weight laid out in panels, as the compiled linears read it (csrc/panels.h)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from loraplex_kernels.pages import advise_huge_pages

PANEL = 64  # outputs
_SLACK = 16  # elements that the kernels may read past the end


class _Packing(ctypes.Structure):
    """`struct packing`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("rows", "out")),
        *((name, ctypes.c_int64) for name in ("outputs", "steps", "row_bytes")),
    )


class Panels:
    """`[N / 64][K][64]` in steps of 32 bits along K: a float32, two bfloat16 or four int8.

    The last panel is as narrow as what is left of N, so the weight takes no more memory than it came with.

    Args:
        weight: `[N, K]`, contiguous, on the CPU, its rows a multiple of 32 bits long; not kept.
        library: the compiled kernels.
    """

    def __init__(self, weight: Tensor, library: ctypes.CDLL) -> None:
        self.dtype = weight.dtype
        self.outputs = weight.shape[0]
        row_bytes = weight.shape[1] * weight.itemsize
        self.steps = row_bytes // 4
        self.packed = torch.empty(self.outputs * self.steps + _SLACK, dtype=torch.int32)
        advise_huge_pages(self.packed)
        packing = _Packing(weight.data_ptr(), self.packed.data_ptr(), self.outputs, self.steps, row_bytes)
        library.loraplex_linear_pack(ctypes.byref(packing), torch.get_num_threads())

    @property
    def nbytes(self) -> int:
        """Bytes of the weight, which has no padding."""
        return self.outputs * self.steps * 4

    def rows(self, index: Tensor) -> Tensor:
        """int64 `[T]` to those rows of the weight, `[T, K]`."""
        panel = index // PANEL
        width = (self.outputs - panel * PANEL).clamp(max=PANEL)
        first = panel * PANEL * self.steps + index % PANEL
        steps = torch.arange(self.steps)
        return self.packed[first[:, None] + steps * width[:, None]].view(self.dtype)

    def unpacked(self) -> Tensor:
        """The weight as it came, `[N, K]`."""
        whole = self.outputs // PANEL * PANEL  # outputs of whole panels
        body, tail = self.packed[:-_SLACK].split_with_sizes([whole * self.steps, (self.outputs - whole) * self.steps])
        rows = torch.empty(self.outputs, self.steps, dtype=torch.int32)
        rows[:whole].view(-1, PANEL, self.steps).copy_(body.view(-1, self.steps, PANEL).transpose(1, 2))
        rows[whole:].copy_(tail.view(self.steps, -1).t())
        return rows.view(self.dtype)
