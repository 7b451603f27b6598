"""Floating-point weights on the CPU, through the compiled kernel (csrc/linear.c)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.launch import empty, launch
from loraplex_kernels.linear.check import check_linear
from loraplex_kernels.linear.panels import Panels

_FORMATS = {torch.float32: 0, torch.bfloat16: 1}


class _Linear(ctypes.Structure):
    """`struct linear`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "weight", "bias", "y")),
        *((name, ctypes.c_int64) for name in ("rows", "outputs", "steps", "x_stride", "y_stride", "format", "bf16")),
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
    """A floating-point weight in panels; the original is not kept.

    Semantics: as `DenseWeight`, with float32 sums in one fixed order: a row's output is bitwise the same whatever rows
    are beside it, however many there are, and however many threads there are.

    Args:
        weight: `[N, K]`, `packable`.
        wide: what it gives is float32, the sums as they are, whatever the weight's dtype.

    Raises:
        ValueError: it is not packable.
    """

    def __init__(self, weight: Tensor, wide: bool = False) -> None:
        library = native.library()
        if library is None or not packable(weight):
            raise ValueError(f"a {weight.dtype} weight of {list(weight.shape)} cannot be packed: {native.status()}")
        self.out_features, self.in_features = weight.shape
        self.dtype = weight.dtype
        self.out_dtype = torch.float32 if wide else weight.dtype
        self._library = library
        self._panels = Panels(weight.contiguous(), library)

    @property
    def nbytes(self) -> int:
        """Bytes of the weight, which has no padding."""
        return self._panels.nbytes

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `BaseWeight`.

        Raises:
            ValueError: x or the bias is not of the weight's dtype and width.
        """
        check_linear(x, bias, self.dtype, self.in_features, self.out_features)
        if x.stride(1) != 1 or x.stride(0) * x.itemsize % 4:
            x = x.contiguous()
        if bias is not None:
            bias = bias.contiguous()
        y = empty(x.shape[0], self.out_features, dtype=self.out_dtype)
        arguments = _Linear(
            x.data_ptr(),
            self._panels.packed.data_ptr(),
            None if bias is None else bias.data_ptr(),
            y.data_ptr(),
            x.shape[0],
            self.out_features,
            self._panels.steps,
            x.stride(0) * x.itemsize,
            y.stride(0) * y.itemsize,
            _FORMATS[x.dtype],
            int(self.out_dtype == torch.bfloat16),
        )
        launch(self._library.loraplex_linear, arguments)
        return y

    def rows(self, index: Tensor) -> Tensor:
        """See `RowWeight`."""
        return self._panels.rows(index)

    def dequantized(self) -> Tensor:
        """See `BaseWeight`."""
        return self._panels.unpacked().to(torch.float32)
