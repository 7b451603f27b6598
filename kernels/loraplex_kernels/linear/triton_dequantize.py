"""Packed codes back to floating-point weights, for cuBLAS."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from loraplex_kernels.linear.packed_codes import PackedCodes
from loraplex_kernels.linear.unpack import unpack_plane

BLOCK_N = 32
WARPS = 4


@triton.jit(do_not_specialize=["first", "last"])
def dequantize_kernel(
    # Tensors
    out_ptr,  # [last - first, K], written
    # The weight: PackedCodes
    words_ptr,  # int16 [chunks, N, 32]
    scale_ptr,  # [groups, ceil(N / scale_rows)]
    zero_ptr,  # uint8 [groups, N], read with ZERO
    table_ptr,  # float32 [16], read for lookup
    # Sizes and strides
    first,
    last,
    N,
    K,
    groups,
    group,
    scale_rows,
    scale_stride,
    # Tiles and forms
    BLOCK_N: tl.constexpr,
    KIND: tl.constexpr,
    BITS: tl.constexpr,
    ZERO: tl.constexpr,
):
    """Semantics: out[n - first, k] = W[n, k] for the outputs from `first` to before `last`, W as in PackedCodes.

    Grid: (tiles of outputs, chunks). A group is a multiple of 32, so a plane has one scale for each output.
    """
    o_n = first + tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    chunk = tl.program_id(1)
    o_j = tl.arange(0, 32)
    n_mask = o_n < last
    p_words = words_ptr + (chunk.to(tl.int64) * N + o_n)[:, None] * 32 + o_j[None, :]
    b_w = tl.load(p_words, mask=n_mask[:, None], other=0)  # [BLOCK_N, 32]
    for plane in tl.static_range(16 // BITS):
        k = (chunk * (16 // BITS) + plane) * 32
        number = min(k // group, groups - 1)  # what a chunk has past K is not written
        b_zero = tl.full([BLOCK_N], 1 << (BITS - 1), tl.float32)
        if ZERO:
            b_zero = tl.load(zero_ptr + number * N + o_n, mask=n_mask, other=0).to(tl.float32)
        b_scale = tl.load(scale_ptr + number * scale_stride + o_n // scale_rows, mask=n_mask, other=0)
        b_out = unpack_plane(b_w, b_zero, table_ptr, plane, BITS, KIND) * b_scale.to(tl.float32)[:, None]
        p_out = out_ptr + (o_n - first).to(tl.int64)[:, None] * K + k + o_j[None, :]
        tl.store(p_out, b_out.to(out_ptr.dtype.element_ty), mask=n_mask[:, None] & (k + o_j < K)[None, :])


def dequantize_rows(weight: PackedCodes, first: int, last: int, dtype: torch.dtype) -> Tensor:
    """The weights of some outputs, in floating point.

    Semantics: those of `dequantize_rows_naive`.

    Args:
        weight: of N outputs and K inputs.
        first: of the outputs.
        last: before which they end.
        dtype: float32, bfloat16 or float16.

    Returns:
        `[last - first, K]`.
    """
    out = torch.empty(last - first, weight.inputs, dtype=dtype, device=weight.words.device)
    dequantize_kernel[(triton.cdiv(last - first, BLOCK_N), weight.words.shape[0])](
        *(out, weight.words, weight.scale),
        weight.words if weight.zero is None else weight.zero,
        weight.scale if weight.table is None else weight.table,
        *(
            first,
            last,
            weight.outputs,
            weight.inputs,
            weight.groups,
            weight.group,
            weight.scale_rows,
            weight.scale.stride(0),
        ),
        BLOCK_N=BLOCK_N,
        KIND=weight.kind,
        BITS=weight.bits,
        ZERO=weight.zero is not None,
        num_warps=WARPS,
    )
    return out


def dequantize_rows_naive(weight: PackedCodes, first: int, last: int, dtype: torch.dtype) -> Tensor:
    """Semantics: `weight.dequantized()[first:last]`, rounded once."""
    return weight.dequantized()[first:last].to(dtype)
