"""A weight laid out in panels, as the compiled linears read it (csrc/panels.h)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from loraplex_kernels.launch import empty, launch
from loraplex_kernels.pages import advise_huge_pages

PANEL = 64  # outputs
_SLACK = 16  # elements that the kernels may read past the end


class _Packing(ctypes.Structure):
    """`struct packing`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("rows", "out")),
        *((name, ctypes.c_int64) for name in ("outputs", "steps", "row_bytes")),
    )


class _Rows(ctypes.Structure):
    """`struct linear_rows`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("index", "weight", "scale", "y")),
        *((name, ctypes.c_int64) for name in ("rows", "inputs", "outputs", "steps", "bf16")),
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
        self._library = library
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
        """Rows of the weight as it came (csrc/linear_rows.c).

        Args:
            index: int64 `[T]`; one that the weight does not have gives zeros.

        Returns:
            `[T, K]` in the weight's dtype.
        """
        y = empty(len(index), self.steps * 4 // self.dtype.itemsize, dtype=self.dtype)
        return self._take(index, None, y)

    def scaled_rows(self, index: Tensor, scale: Tensor, inputs: int, dtype: torch.dtype) -> Tensor:
        """As `rows` for an int8 weight, each row times its scale.

        Args:
            index: int64 `[T]`; one that the weight does not have gives zeros.
            scale: float32 `[N]`.
            inputs: K without what fills the last step.
            dtype: of the result, float32 or bfloat16.

        Returns:
            `[T, inputs]`.
        """
        return self._take(index, scale, empty(len(index), inputs, dtype=dtype))

    def _take(self, index: Tensor, scale: Tensor | None, y: Tensor) -> Tensor:
        if index.dtype != torch.int64 or index.dim() != 1 or not index.is_cpu:
            raise ValueError(f"rows are chosen by an int64 [T] on the CPU, not {index.dtype} {list(index.shape)}")
        index = index.contiguous()
        arguments = _Rows(
            index.data_ptr(),
            self.packed.data_ptr(),
            None if scale is None else scale.data_ptr(),
            y.data_ptr(),
            *(*y.shape, self.outputs, self.steps, int(y.dtype == torch.bfloat16)),
        )
        launch(self._library.loraplex_linear_rows, arguments)
        return y

    def unpacked(self) -> Tensor:
        """The weight as it came, `[N, K]`."""
        whole = self.outputs // PANEL * PANEL  # outputs of whole panels
        body, tail = self.packed[:-_SLACK].split_with_sizes([whole * self.steps, (self.outputs - whole) * self.steps])
        rows = torch.empty(self.outputs, self.steps, dtype=torch.int32)
        rows[:whole].view(-1, PANEL, self.steps).copy_(body.view(-1, self.steps, PANEL).transpose(1, 2))
        rows[whole:].copy_(tail.view(self.steps, -1).t())
        return rows.view(self.dtype)
