"""W8A8: int8 weights, one scale an output; activations rounded to int8 on the way in, one scale a row."""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.launch import empty, launch
from loraplex_kernels.linear.check import check_linear
from loraplex_kernels.linear.panels import Panels
from loraplex_kernels.linear.rounding import round_rows, row_sums

# The int32 sums of unsigned by signed bytes hold 65 793 products of 255 * 128.
_MOST_INPUTS = 1 << 16


class _Linear(ctypes.Structure):
    """`struct linear_int8`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "weight", "scale", "sum", "bias", "y", "rounded", "row_scale")),
        *((name, ctypes.c_int64) for name in ("rows", "inputs", "outputs", "steps", "x_stride", "y_stride")),
        *((name, ctypes.c_int64) for name in ("bf16", "y_bf16")),
    )


def available(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this machine multiplies bytes, and the compiled kernel takes activations of `dtype`."""
    library = native.library()
    return (
        device.type == "cpu"
        and dtype in (torch.float32, torch.bfloat16)
        and library is not None
        and bool(library.loraplex_has_int8())
    )


def packable(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether the compiled kernel is `available` and takes this weight."""
    return weight.shape[1] <= _MOST_INPUTS and available(dtype, weight.device)


class Int8Weight:
    """An int8 weight on the CPU, through the compiled kernel (csrc/linear_int8.c); the original is not kept.

    Semantics: `y[t, n] = x_scale[t] * w_scale[n] * sum_k x8[t, k] w8[n, k] + bias[n]`, where
    `w_scale[n] = max_k |W[n, k]| / 127`, `w8 = round(W / w_scale)` and x8, x_scale the same of each row of x. The sum
    is exact in int32. Rows do not depend on each other: the same row gives the same output in any batch.

    Args:
        weight: `[N, K]`, floating point, `packable`.
        dtype: of the activations.
        wide: what it gives is float32, not rounded to that dtype.
        scales: float32 `[N]`, `w_scale` of longer rows that the weight's are parts of; None: they are whole.

    Raises:
        ValueError: it is not packable.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype, wide: bool = False, scales: Tensor | None = None) -> None:
        library = native.library()
        if library is None or not packable(weight, dtype):
            raise ValueError(f"no int8 kernel for {dtype} by {list(weight.shape)} here: {native.status()}")
        self.out_features, self.in_features = weight.shape
        self.dtype = dtype
        self.out_dtype = torch.float32 if wide else dtype
        rounded, self.scale = round_rows(weight, scales)
        self._sum = row_sums(rounded)
        self._library = library
        missing = -self.in_features % 4  # of whole steps
        self._panels = Panels(F.pad(rounded, (0, missing)) if missing else rounded, library)

    @property
    def nbytes(self) -> int:
        """Bytes of the weight, its scales and its sums."""
        return self._panels.nbytes + self.scale.nbytes + self._sum.nbytes

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `BaseWeight`.

        Raises:
            ValueError: x or the bias is not of the dtype and width that the weight was made for.
        """
        check_linear(x, bias, self.dtype, self.in_features, self.out_features)
        if x.stride(1) != 1:
            x = x.contiguous()
        if bias is not None:
            bias = bias.contiguous()
        y = empty(x.shape[0], self.out_features, dtype=self.out_dtype)
        scratch = empty(x.shape[0], self._panels.steps + 1, dtype=torch.int32)  # each row's bytes, and its scale
        arguments = _Linear(
            x.data_ptr(),
            self._panels.packed.data_ptr(),
            self.scale.data_ptr(),
            self._sum.data_ptr(),
            None if bias is None else bias.data_ptr(),
            y.data_ptr(),
            scratch.data_ptr(),
            scratch.data_ptr() + x.shape[0] * self._panels.steps * 4,
            x.shape[0],
            self.in_features,
            self.out_features,
            self._panels.steps,
            x.stride(0) * x.itemsize,
            y.stride(0) * y.itemsize,
            int(x.dtype == torch.bfloat16),
            int(self.out_dtype == torch.bfloat16),
        )
        launch(self._library.loraplex_linear_int8, arguments)
        return y

    def rows(self, index: Tensor) -> Tensor:
        """See `RowWeight`: in the activations' dtype, each weight times its scale, rounded once."""
        return self._panels.scaled_rows(index, self.scale, self.in_features, self.dtype)

    def dequantized(self) -> Tensor:
        """See `BaseWeight`."""
        return self._panels.unpacked()[:, : self.in_features].to(torch.float32) * self.scale[:, None]
