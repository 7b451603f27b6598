"""Floating-point weights laid out for the compiled CPU kernel (csrc/linear.c)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.pages import advise_huge_pages

PANEL = 64  # outputs
_SLACK = 16  # elements that the kernel may read past the end
_FORMATS = {torch.float32: 0, torch.bfloat16: 1}


class _Packing(ctypes.Structure):
    """`struct packing`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("rows", "out")),
        *((name, ctypes.c_int64) for name in ("outputs", "steps", "row_bytes")),
    )


class _Linear(ctypes.Structure):
    """`struct linear`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "weight", "bias", "y")),
        *((name, ctypes.c_int64) for name in ("rows", "outputs", "steps", "x_stride", "y_stride", "format")),
    )


def packable(weight: Tensor) -> bool:
    """Whether the compiled kernel is there and takes this weight: float32, or bfloat16 with K even, on the CPU."""
    return (
        weight.device.type == "cpu"
        and weight.dtype in _FORMATS
        and weight.shape[1] * weight.itemsize % 4 == 0
        and native.library() is not None
    )


class PackedWeight:
    """A weight in panels of 64 outputs, `[N / 64][K][64]`, bfloat16 in pairs along K; the original is not kept.

    The last panel is as narrow as what is left of N, so the weight takes no more memory than it came with.

    Semantics: as `DenseWeight`, with float32 sums in one fixed order: a row's output is bitwise the same whatever rows
    are beside it, however many there are, and however many threads there are.

    Args:
        weight: `[N, K]`, `packable`.

    Raises:
        ValueError: it is not.
    """

    def __init__(self, weight: Tensor) -> None:
        library = native.library()
        if library is None or not packable(weight):
            raise ValueError(f"a {weight.dtype} weight of {list(weight.shape)} cannot be packed: {native.status()}")
        weight = weight.contiguous()
        self.out_features, self.in_features = weight.shape
        self.dtype = weight.dtype
        row_bytes = self.in_features * weight.itemsize
        self._steps = row_bytes // 4  # of 32 bits: one float32, or two bfloat16
        self._library = library
        self._packed = torch.empty(self.out_features * self._steps + _SLACK, dtype=torch.int32)
        advise_huge_pages(self._packed)
        packing = _Packing(weight.data_ptr(), self._packed.data_ptr(), self.out_features, self._steps, row_bytes)
        library.loraplex_linear_pack(ctypes.byref(packing), torch.get_num_threads())

    @property
    def nbytes(self) -> int:
        """Bytes of the weight, which has no padding."""
        return self.out_features * self._steps * 4

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `BaseWeight`.

        Raises:
            ValueError: x or the bias is not of the weight's dtype and width.
        """
        if x.dtype != self.dtype or x.dim() != 2 or x.shape[1] != self.in_features:
            raise ValueError(f"x must be {self.dtype} [T, {self.in_features}], not {x.dtype} {list(x.shape)}")
        if bias is not None and (bias.dtype != self.dtype or bias.shape != (self.out_features,)):
            raise ValueError(f"bias must be {self.dtype} [{self.out_features}], not {bias.dtype} {list(bias.shape)}")
        if x.stride(1) != 1 or x.stride(0) * x.itemsize % 4:
            x = x.contiguous()
        if bias is not None:
            bias = bias.contiguous()
        y = torch.empty(x.shape[0], self.out_features, dtype=x.dtype)
        arguments = _Linear(
            x.data_ptr(),
            self._packed.data_ptr(),
            None if bias is None else bias.data_ptr(),
            y.data_ptr(),
            x.shape[0],
            self.out_features,
            self._steps,
            x.stride(0) * x.itemsize,
            y.stride(0) * y.itemsize,
            _FORMATS[x.dtype],
        )
        self._library.loraplex_linear(ctypes.byref(arguments), torch.get_num_threads())
        return y

    def rows(self, index: Tensor) -> Tensor:
        """Rows of the weight, so that an embedding tied to it needs no second copy.

        Args:
            index: int64 `[T]`.

        Returns:
            `[T, K]` in the weight's dtype.
        """
        panel = index // PANEL
        width = (self.out_features - panel * PANEL).clamp(max=PANEL)
        first = panel * PANEL * self._steps + index % PANEL
        steps = torch.arange(self._steps)
        return self._packed[first[:, None] + steps * width[:, None]].view(self.dtype)

    def dequantized(self) -> Tensor:
        """See `BaseWeight`."""
        whole = self.out_features // PANEL * PANEL  # outputs of whole panels
        body, tail = self._packed[:-_SLACK].split_with_sizes(
            [whole * self._steps, (self.out_features - whole) * self._steps]
        )
        unpacked = torch.empty(self.out_features, self._steps, dtype=torch.int32)
        unpacked[:whole].view(-1, PANEL, self._steps).copy_(body.view(-1, self._steps, PANEL).transpose(1, 2))
        unpacked[whole:].copy_(tail.view(self._steps, -1).t())
        return unpacked.view(self.dtype).to(torch.float32)
