"""Four-bit weights on the CPU, through the compiled kernel (csrc/linear_int4.c)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.launch import empty, launch
from loraplex_kernels.linear.check import check_linear
from loraplex_kernels.linear.codes4 import Codes4
from loraplex_kernels.linear.forms import GroupedInts, Lookup, WeightForm

_GROUP_MULTIPLE = 32


class _Linear(ctypes.Structure):
    """`struct linear_int4`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "order", "copy", "x_sum", "weight", "table", "bias", "y")),
        *((name, ctypes.c_int64) for name in ("rows", "inputs", "outputs", "x_stride", "y_stride", "bf16", "pairs")),
        *((name, ctypes.c_int64) for name in ("integers", "steps", "block_steps", "group_blocks", "panel_bytes")),
        *((name, ctypes.c_int64) for name in ("scale_type", "zero_type", "run")),
    )


def packable(form: WeightForm, dtype: torch.dtype) -> bool:
    """Whether the compiled kernel is there and takes this weight, for activations of `dtype`.

    It takes four bits on the CPU: `GroupedInts` with groups of a multiple of 32 inputs or of all of them, and `Lookup`
    with such blocks; activations in float32 or bfloat16.
    """
    if not isinstance(form, GroupedInts | Lookup) or (isinstance(form, GroupedInts) and form.bits != 4):
        return False
    group = form.group if isinstance(form, GroupedInts) else form.block
    return (
        form.codes.device.type == "cpu"
        and dtype in (torch.float32, torch.bfloat16)
        and (group % _GROUP_MULTIPLE == 0 or group >= form.shape[1])
        and native.library() is not None
    )


class Int4Weight:
    """A four-bit weight on the CPU; the form is not kept.

    Semantics: `y[t, n] = sum_k x[t, k] W[n, k] + bias[n]` with the W that `form.dequantized()` is: activations are not
    rounded, nor are scales or zero points. The sums are float32 in one fixed order: a row's output is bitwise the same
    whatever rows are beside it, however many there are, and however many threads there are.

    Args:
        form: `packable`.
        dtype: of the activations.

    Raises:
        ValueError: it is not packable.
    """

    def __init__(self, form: WeightForm, dtype: torch.dtype) -> None:
        library = native.library()
        if library is None or not isinstance(form, GroupedInts | Lookup) or not packable(form, dtype):
            raise ValueError(
                f"no four-bit kernel for {type(form).__name__} {list(form.shape)} and {dtype} here: "
                f"{native.status()}; it takes GroupedInts of 4 bits and Lookup on the CPU, in groups of a multiple of "
                f"{_GROUP_MULTIPLE} inputs, with float32 or bfloat16"
            )
        self.out_features, self.in_features = form.shape
        self.dtype = dtype
        self._library = library
        self._codes = Codes4(form, library)
        # Elsewhere bfloat16 is widened to float32 before it is multiplied, as it is for tables that need more digits.
        self._pairs = (
            dtype == torch.bfloat16
            and bool(library.loraplex_int4_has_pairs())
            and torch.equal(self._codes.table.to(torch.bfloat16).to(torch.float32), self._codes.table)
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the codes, scales, zero points and order, with the padding to whole panels of 64 outputs."""
        return self._codes.nbytes

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
        codes, rows = self._codes, x.shape[0]
        y = empty(rows, self.out_features, dtype=x.dtype)
        copy, x_sum = self._scratch(x)
        arguments = _Linear(
            x.data_ptr(),
            _address(codes.order),
            _address(copy),
            _address(x_sum),
            codes.packed.data_ptr(),
            codes.table.data_ptr(),
            _address(bias),
            y.data_ptr(),
            rows,
            self.in_features,
            self.out_features,
            x.stride(0) * x.itemsize,
            y.stride(0) * y.itemsize,
            int(x.dtype == torch.bfloat16),
            int(self._pairs),
            int(codes.integers),
            codes.steps,
            codes.block_steps,
            codes.group_steps // codes.block_steps,
            codes.panel_bytes,
            codes.scale_type,
            codes.zero_type,
            0,
        )
        launch(self._library.loraplex_linear_int4, arguments)
        return y

    def rows(self, index: Tensor) -> Tensor:
        """Rows of the weight, so that an embedding tied to it needs no second copy.

        Args:
            index: int64 `[T]`.

        Returns:
            `[T, K]` in the activations' dtype.
        """
        return self._codes.rows(index).to(self.dtype)

    def dequantized(self) -> Tensor:
        """See `BaseWeight`."""
        return self._codes.unpacked()

    def _scratch(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Room for x as the kernel reads it, unless it can read x itself, and for the sums that zero points need."""
        codes, rows = self._codes, x.shape[0]
        usable = (
            codes.order is None
            and x.shape[1] % 2 == 0
            and x.stride(0) * x.itemsize % 4 == 0
            and self._pairs == (x.dtype == torch.bfloat16)
        )
        copy = None if usable else empty(rows, codes.steps * (1 if self._pairs else 2), dtype=torch.int32)
        blocks = -(-codes.steps // codes.block_steps)
        return copy, empty(rows, blocks) if codes.zero_type >= 0 else None


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
