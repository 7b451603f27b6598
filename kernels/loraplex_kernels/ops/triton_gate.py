"""Gated activations on a GPU."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def gate_kernel(
    # Tensors
    y_ptr,  # [T, width], contiguous
    x_ptr,  # [T, 2 width]
    # Sizes and strides
    width,
    x_stride,
    # Tiles
    BLOCK: tl.constexpr,
    GELU: tl.constexpr,
):
    """Semantics: y = round(silu(x[:, :width]) * x[:, width:]), with GELU its tanh form in place of silu; in float32.

    Grid: (T, tiles of the width).
    """
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = column < width
    p_x = x_ptr + row * x_stride + column
    gate = tl.load(p_x, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(p_x + width, mask=mask, other=0.0).to(tl.float32)
    u = gate
    if GELU:  # 0.5 (1 + tanh u) is the sigmoid of 2 u
        u = gate * (1.59576912 + 0.0713548163 * gate * gate)
    y = gate / (1.0 + tl.exp(tl.minimum(-u, 88.0))) * up  # beyond, float32 has no exponential
    tl.store(y_ptr + row * width + column, y.to(y_ptr.dtype.element_ty), mask=mask)


def gate_triton(x: Tensor, *, gelu: bool) -> Tensor:
    """`ops.activation.silu_and_mul`, or `gelu_tanh_and_mul`."""
    rows, width = x.shape[0], x.shape[1] // 2
    y = torch.empty(rows, width, dtype=x.dtype, device=x.device)
    if y.numel():
        gate_kernel[(rows, triton.cdiv(width, BLOCK))](y, x, width, x.stride(0), BLOCK=BLOCK, GELU=gelu, num_warps=4)
    return y
