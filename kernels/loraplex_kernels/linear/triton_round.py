"""Activations to eight-bit floats, a scale for each row."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from loraplex_kernels.linear.rounding import SMALLEST

MOST_BLOCK = 8192  # elements of a row at a time
_NUMBERS = {"K": "i32", "x_stride": "i32", "input_scale": "fp32", "smallest": "fp32"}


@triton.jit
def round_rows_float8_kernel(
    # Tensors
    q_ptr,  # float8_e4m3fn [M, K], written
    scale_ptr,  # float32 [M], written
    x_ptr,  # [M, K]
    # Sizes and strides
    K,
    x_stride,
    input_scale,  # float32, read with STATIC
    smallest,  # float32
    # Tiles and forms
    BLOCK: tl.constexpr,
    STATIC: tl.constexpr,
):
    """Semantics: scale[m] = max over k of |x[m, k]| / 448, or input_scale; q[m, k] = e4m3(clamp(x[m, k] / scale[m])).

    Grid: (M,). A row is read twice; where it is one block, the second time from the first-level cache.
    """
    row = tl.program_id(0).to(tl.int64)
    p_x = x_ptr + row * x_stride
    scale = input_scale
    if not STATIC:
        b_most = tl.zeros([BLOCK], dtype=tl.float32)
        for k in range(0, K, BLOCK):
            o_k = k + tl.arange(0, BLOCK)
            b_most = tl.maximum(b_most, tl.abs(tl.load(p_x + o_k, mask=o_k < K, other=0.0).to(tl.float32)))
        scale = tl.div_rn(tl.maximum(tl.max(b_most, axis=0), smallest), 448.0)
    for k in range(0, K, BLOCK):
        o_k = k + tl.arange(0, BLOCK)
        b_x = tl.div_rn(tl.load(p_x + o_k, mask=o_k < K, other=0.0).to(tl.float32), scale)
        b_x = tl.where(b_x > 448.0, 448.0, tl.where(b_x < -448.0, -448.0, b_x))  # NaN stays, min and max would drop it
        tl.store(q_ptr + row * K + o_k, b_x.to(tl.float8e4nv), mask=o_k < K)
    tl.store(scale_ptr + row, scale)


def round_rows_float8(x: Tensor, input_scale: float | None) -> tuple[Tensor, Tensor]:
    """Each row by its own scale, or all by one that a checkpoint has measured.

    Semantics: those of `round_rows_float8_naive` (float8_rounding.py).

    Args:
        x: `[M, K]`, floating point, unit stride along the columns.
        input_scale: None for a scale each.

    Returns:
        float8_e4m3fn `[M, K]`, and the float32 `[M, 1]` that the rows are to be multiplied by.
    """
    M, K = x.shape
    q = torch.empty(M, K, dtype=torch.float8_e4m3fn, device=x.device)
    scale = torch.empty(M, 1, dtype=torch.float32, device=x.device)
    block, warps = block_of(K)
    round_rows_float8_kernel[(M,)](
        *(q, scale, x, K, x.stride(0), 1.0 if input_scale is None else input_scale, SMALLEST),
        BLOCK=block,
        STATIC=input_scale is not None,
        num_warps=warps,
    )
    return q, scale


def block_of(inputs: int) -> tuple[int, int]:
    """Elements of a block and its warps: 16 elements a thread, a decoding row being one block."""
    block = min(triton.next_power_of_2(inputs), MOST_BLOCK)
    return block, max(1, min(16, block // 512))
