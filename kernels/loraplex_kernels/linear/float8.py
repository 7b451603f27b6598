"""W8A8 in e4m3: weights and activations of eight bits, multiplied as such by the tensor cores."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.linear.check import check_linear
from loraplex_kernels.linear.float8_rounding import round_rows_float8_naive
from loraplex_kernels.linear.forms import Float8, WeightForm

# Sums in the tensor cores' own precision (about 14 bits on Hopper): faster, and off by more than the rounding of
# activations where K is long.
FAST_SUMS = False


def multiplies(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch multiplies eight-bit floats there, with a scale for each row and output, to this dtype.

    On NVIDIA's GPUs of sm_89, 9x and 10x; CPUs do it for tests. To float16 with cuBLAS alone, which does it on Hopper
    from CUDA 12.9 on: torch's own kernel, for all the others, refuses it, or, in some versions, writes bfloat16's bits
    (pytorch/pytorch#187569). Later cards have neither (pytorch/pytorch#192707).
    """
    if device.type != "cuda":
        return device.type == "cpu"
    if torch.version.cuda is None:
        return False
    capability = torch.cuda.get_device_capability(device)
    if dtype == torch.float16:
        return capability[0] == 9 and tuple(map(int, torch.version.cuda.split(".")[:2])) >= (12, 9)
    return capability == (8, 9) or capability[0] in (9, 10)


class Float8Weight:
    """e4m3 weights with a scale for each output, through `torch._scaled_mm`.

    Semantics: `y[m, n] = x_scale[m] * w_scale[n] * sum_k x8[m, k] w8[n, k] + bias[n]`; x8 and x_scale are each row
    rounded to e4m3 by its own scale, or by the form's `input_scale`. A row's x8 depends on it alone; the product is
    cuBLAS's, which may choose its sums by the number of rows.

    Args:
        form: `supported`: one scale for all inputs, N and K multiples of 16.
        dtype: of the activations and the result, bfloat16 or float16.
        device: where it runs; on the CPU slowly, for tests.

    Raises:
        ValueError: the form, dtype or device is not supported.
    """

    def __init__(self, form: Float8, dtype: torch.dtype, device: torch.device) -> None:
        if not _takes(form, dtype) or not multiplies(device, dtype):
            raise ValueError(
                f"no eight-bit product of {list(form.shape)} in tiles of {form.columns} inputs by {dtype} on {device}: "
                "it needs one scale for all inputs, multiples of 16, and bfloat16 on sm_89, 9x or 10x, or float16 on "
                "sm_9x with CUDA 12.9"
            )
        self.out_features, self.in_features = form.shape
        self.dtype = dtype
        self._values = form.values.to(device).contiguous()
        scale = form.scale.to(device=device, dtype=torch.float32)
        self._scale = scale.repeat_interleave(form.rows, dim=0)[: self.out_features].reshape(1, -1).contiguous()
        self._input_scale = form.input_scale
        self._round = round_rows_float8_naive
        if device.type == "cuda":
            from loraplex_kernels.linear.triton_round import (
                round_rows_float8,
            )  # a machine without a GPU may lack triton

            self._round = round_rows_float8

    @classmethod
    def supported(cls, form: WeightForm, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether this class serves the form well: not on the CPU, where weights alone are the better choice."""
        return isinstance(form, Float8) and _takes(form, dtype) and device.type == "cuda" and multiplies(device, dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the weight and its scales."""
        return self._values.nbytes + self._scale.nbytes

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `BaseWeight`.

        Raises:
            ValueError: x or the bias is not of the dtype and width that the weight was made for.
        """
        check_linear(x, bias, self.dtype, self.in_features, self.out_features)
        if x.shape[0] == 0:
            return x.new_empty(0, self.out_features)
        x8, scale = self._round(x if x.stride(1) == 1 else x.contiguous(), self._input_scale)
        return torch._scaled_mm(
            x8,
            self._values.t(),
            scale_a=scale,
            scale_b=self._scale,
            bias=None if bias is None else bias.contiguous(),
            out_dtype=self.dtype,
            use_fast_accum=FAST_SUMS,
        )

    def dequantized(self) -> Tensor:
        """See `BaseWeight`."""
        return self.dequantized_part(0, self.out_features)

    def dequantized_part(self, first: int, last: int) -> Tensor:
        """See `SlicedWeight`."""
        return self._values[first:last].to(torch.float32) * self._scale[:, first:last].t()


def _takes(form: Float8, dtype: torch.dtype) -> bool:
    outputs, inputs = form.shape
    return (
        form.columns >= inputs and outputs % 16 == 0 and inputs % 16 == 0 and dtype in (torch.bfloat16, torch.float16)
    )
