"""Writing a step's keys and values into the paged cache on a GPU."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from loraplex_kernels.attention.cache import FLOAT8_MAX

LARGEST = tl.constexpr(FLOAT8_MAX)


@triton.jit
def stored(b_x, scale, FLOAT8: tl.constexpr):
    """What of b_x goes into the cache: itself, or as float8 x / scale, cut off at the largest, NaN as NaN."""
    if FLOAT8:
        b_scaled = tl.div_rn(b_x.to(tl.float32), scale)  # `/` may be off by 2 units, and many of bfloat16 are ties
        b_x = tl.where(b_scaled > LARGEST, LARGEST, tl.where(b_scaled < -LARGEST, -LARGEST, b_scaled)).to(tl.float8e4nv)
    return b_x


@triton.jit
def write_kv_kernel(
    # Tensors
    k_ptr,  # [T, KV_HEADS, HEAD_DIM]
    v_ptr,
    k_cache_ptr,  # [blocks, KV_HEADS, BLOCK_SIZE, HEAD_DIM], written
    v_cache_ptr,
    slot_ptr,  # int64 [T]
    # Strides and scales
    k_stride,
    v_stride,
    k_scale,
    v_scale,
    # Tiles
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    FLOAT8: tl.constexpr,
):
    """Semantics: those of `write_kv_naive`.

    Grid: (T, tiles of a row's KV_HEADS * HEAD_DIM elements).
    """
    row = tl.program_id(0).to(tl.int64)
    slot = tl.load(slot_ptr + row)
    if slot < 0:
        return
    o = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = o < KV_HEADS * HEAD_DIM
    at = slot // BLOCK_SIZE * (KV_HEADS * BLOCK_SIZE * HEAD_DIM) + slot % BLOCK_SIZE * HEAD_DIM
    to = at + o // HEAD_DIM * (BLOCK_SIZE * HEAD_DIM) + o % HEAD_DIM
    b_k = tl.load(k_ptr + row * k_stride + o, mask=inside, other=0.0)
    b_v = tl.load(v_ptr + row * v_stride + o, mask=inside, other=0.0)
    tl.store(k_cache_ptr + to, stored(b_k, k_scale, FLOAT8), mask=inside)
    tl.store(v_cache_ptr + to, stored(b_v, v_scale, FLOAT8), mask=inside)
