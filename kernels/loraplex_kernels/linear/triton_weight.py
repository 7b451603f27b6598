"""A quantized weight on a GPU, whatever its codes mean: few rows through the packed kernel, more through cuBLAS."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from loraplex_kernels.linear import launches
from loraplex_kernels.linear.check import check_linear
from loraplex_kernels.linear.packed_codes import PackedCodes
from loraplex_kernels.linear.packed_linear import assembly_for, linear_packed
from loraplex_kernels.linear.triton_dequantize import dequantize_rows

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def runs_on(device: torch.device) -> bool:
    """Whether these kernels run there: NVIDIA's GPUs from sm_80 on, or the CPU while Triton interprets."""
    if device.type == "cpu":
        return os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


class TritonWeight:
    """A weight of packed codes.

    Semantics: `y = x W^T + bias`, W being `dequantized()`. Up to `launches.MOST_ROWS` rows with exact codes and float32
    sums, a row's bits never depending on the rows beside it; above, with W rounded to x's dtype, through cuBLAS, which
    may choose its sums by the number of rows. Two streams must not call the same weight at the same time. Nothing waits
    for the device, so a CUDA graph can hold it.

    Args:
        packed: the weight, on the device where it runs.
        dtype: of the activations.

    Raises:
        ValueError: the kernels do not run on the device, or do not take the dtype.
    """

    def __init__(self, packed: PackedCodes, dtype: torch.dtype) -> None:
        device = packed.words.device
        if not runs_on(device) or dtype not in DTYPES:
            raise ValueError(f"no Triton kernel multiplies packed codes by {dtype} on {device}")
        self.packed = packed
        self.dtype = dtype
        self.out_features, self.in_features = packed.outputs, packed.inputs
        self.assembly = assembly_for(packed, dtype)
        rows = -(-launches.MOST_ROWS // launches.BUCKETS[0])
        tiles = rows * -(-self.out_features // launches.LEAST_BLOCK_N)
        self.counts = torch.zeros(tiles, dtype=torch.int32, device=device)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and the kernel's counters."""
        return self.packed.nbytes + self.counts.nbytes

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `BaseWeight`.

        Raises:
            ValueError: x or the bias is not of the dtype and width that the weight was made for.
        """
        check_linear(x, bias, self.dtype, self.in_features, self.out_features)
        x = self._ordered(x)
        if x.shape[0] == 0:
            return x.new_empty(0, self.out_features)
        if x.shape[0] > launches.MOST_ROWS:
            return self._unpacked(x, bias)
        bias = None if bias is None else bias.contiguous()
        return linear_packed(x, self.packed, bias, self.counts, self.assembly)

    def dequantized(self) -> Tensor:
        """See `BaseWeight`. A lookup's table is exact here; in the packed kernel it has x's dtype."""
        return self.dequantized_part(0, self.out_features)

    def dequantized_part(self, first: int, last: int) -> Tensor:
        """See `SlicedWeight`."""
        return self.packed.part(first, last).dequantized()

    def _ordered(self, x: Tensor) -> Tensor:
        """x's columns as the codes have them, side by side."""
        return x if x.stride(1) == 1 else x.contiguous()

    def _unpacked(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Slices of the weight, one after the other, through a scratch that stays in the cache."""
        y = x.new_empty(x.shape[0], self.out_features)
        step = max(128, launches.SCRATCH_BYTES // (self.in_features * x.itemsize) // 128 * 128)
        for first in range(0, self.out_features, step):
            last = min(first + step, self.out_features)
            weight = dequantize_rows(self.packed, first, last, x.dtype).t()
            if bias is None:
                torch.mm(x, weight, out=y[:, first:last])
            else:
                torch.addmm(bias[first:last], x, weight, out=y[:, first:last])
        return y
