"""Root-mean-square norms on a GPU, alone or with the residual's addition before them."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# Wider rows are read twice instead of kept in registers.
WHOLE_ROW = 8192
# Elements of a tile of narrow rows: several heads at a time.
NARROW = 1024


# What changes from step to step, and would else be compiled anew where it is 1, or where 16 divides it.
@triton.jit(do_not_specialize=["rows"])
def rms_norm_kernel(
    # Tensors
    y_ptr,  # [outer, inner, width], contiguous
    sum_ptr,  # [outer, inner, width], contiguous; with ADD
    x_ptr,  # [outer, inner, width]
    residual_ptr,  # [outer, width]; with ADD
    weight_ptr,  # [width]
    # Sizes and strides
    rows,
    inner,
    width,
    outer_stride,
    inner_stride,
    residual_stride,
    eps,
    offset,
    # Tiles
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    WHOLE: tl.constexpr,  # BLOCK is no less than the width
    ADD: tl.constexpr,
):
    """Semantics: s = round(x + residual) with ADD, else x; y = round(s / sqrt(mean(s^2) + eps) * (offset + weight)).

    Grid: (tiles of ROWS of the outer * inner rows,). All in float32 between the roundings, which are to y's dtype.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # [ROWS]
    m_row = (row < rows)[:, None]
    p_x = x_ptr + (row // inner * outer_stride + row % inner * inner_stride)[:, None]
    p_r = residual_ptr + (row * residual_stride)[:, None]
    at = (row * width)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    if WHOLE:
        mask = m_row & (column < width)
        b_x = tl.load(p_x + column, mask=mask, other=0.0).to(tl.float32)  # [ROWS, BLOCK]
        if ADD:
            b_r = tl.load(p_r + column, mask=mask, other=0.0).to(tl.float32)
            b_sum = (b_x + b_r).to(sum_ptr.dtype.element_ty)
            tl.store(sum_ptr + at + column, b_sum, mask=mask)
            b_x = b_sum.to(tl.float32)  # what is normed is what is kept, rounding included
        inverse = tl.rsqrt(tl.sum(b_x * b_x, axis=1) / width + eps)[:, None]  # [ROWS, 1]
        b_w = tl.load(weight_ptr + column, mask=column < width, other=0.0).to(tl.float32) + offset
        tl.store(y_ptr + at + column, (b_x * inverse * b_w).to(y_ptr.dtype.element_ty), mask=mask)
    else:
        squares = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
        for first in range(0, width, BLOCK):
            o_c = first + column
            mask = m_row & (o_c < width)
            b_x = tl.load(p_x + o_c, mask=mask, other=0.0).to(tl.float32)
            if ADD:
                b_r = tl.load(p_r + o_c, mask=mask, other=0.0).to(tl.float32)
                b_sum = (b_x + b_r).to(sum_ptr.dtype.element_ty)
                tl.store(sum_ptr + at + o_c, b_sum, mask=mask)
                b_x = b_sum.to(tl.float32)
            squares += b_x * b_x
        inverse = tl.rsqrt(tl.sum(squares, axis=1) / width + eps)[:, None]
        for first in range(0, width, BLOCK):
            o_c = first + column
            mask = m_row & (o_c < width)
            b_x = tl.load(p_x + o_c, mask=mask, other=0.0).to(tl.float32)
            if ADD:  # added again: what another thread has stored is not to be read without a barrier
                b_r = tl.load(p_r + o_c, mask=mask, other=0.0).to(tl.float32)
                b_x = (b_x + b_r).to(sum_ptr.dtype.element_ty).to(tl.float32)
            b_w = tl.load(weight_ptr + o_c, mask=o_c < width, other=0.0).to(tl.float32) + offset
            tl.store(y_ptr + at + o_c, (b_x * inverse * b_w).to(y_ptr.dtype.element_ty), mask=mask)


def rms_norm_triton(x: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> Tensor:
    """`ops.norm.rms_norm` of two or three dimensions."""
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    heads = x.dim() == 3
    inner, inner_stride = (x.shape[1], x.stride(1)) if heads else (1, 0)
    _launch(y, y, x, x, weight, (inner, x.stride(0), inner_stride, 0), eps, offset, add=False)
    return y


def add_rms_norm_triton(
    x: Tensor, residual: Tensor, weight: Tensor, eps: float, offset: float = 0.0
) -> tuple[Tensor, Tensor]:
    """`ops.norm.add_rms_norm`."""
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    total = torch.empty_like(y)
    _launch(y, total, x, residual, weight, (1, x.stride(0), 0, residual.stride(0)), eps, offset, add=True)
    return y, total


def _launch(
    y: Tensor,
    total: Tensor,
    x: Tensor,
    residual: Tensor,
    weight: Tensor,
    strides: tuple[int, int, int, int],
    eps: float,
    offset: float,
    *,
    add: bool,
) -> None:
    width = x.shape[-1]
    if not x.numel():
        return
    rows = x.numel() // width
    tiles, warps = _tiles(width)
    inner, outer_stride, inner_stride, residual_stride = strides
    rms_norm_kernel[(triton.cdiv(rows, tiles["ROWS"]),)](
        *(y, total, x, residual, weight, rows, inner, width),
        *(outer_stride, inner_stride, residual_stride, float(eps), float(offset)),
        **tiles,
        ADD=add,
        num_warps=warps,
    )


def _tiles(width: int) -> tuple[dict[str, int | bool], int]:
    """The tile's constants and its warps, by the width alone: a row's bits never hang on the batch."""
    block = min(triton.next_power_of_2(width), WHOLE_ROW)
    rows = max(1, NARROW // block)
    warps = 8 if block >= 4096 else 4
    return {"ROWS": rows, "BLOCK": block, "WHOLE": width <= block}, warps
