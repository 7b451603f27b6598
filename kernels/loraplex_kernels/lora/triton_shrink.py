"""The first half of the low-rank update on a GPU: v = A x, for every adapter of every block of rows."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def shrunk_part(
    x_ptr,  # [T, K]
    row,  # int32 [M]: of x, -1: none
    a_ptr,  # [rank, K]
    factor_ptr,  # float32 [rank], read where A is int8
    o_r,  # int32 [BLOCK_R]: ranks
    rank,
    part,
    K,
    x_stride,
    M: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLITS: tl.constexpr,
    INT8: tl.constexpr,
    SHRINK_STAGES: tl.constexpr,
):
    """float32 `[BLOCK_R, M]`: the sums over one part of K, times the factor of int8 weights; 0 past the rank.

    Ranks stand where a tensor core wants at least 16, and rows where 8 are enough.
    """
    p_x = x_ptr + row.to(tl.int64)[None, :] * x_stride  # [1, M]
    p_a = a_ptr + o_r.to(tl.int64)[:, None] * K  # [BLOCK_R, 1]
    b_v = tl.zeros([BLOCK_R, M], dtype=tl.float32)
    tiles = tl.cdiv(tl.cdiv(K, BLOCK_K), SPLITS)
    first, last = part * tiles * BLOCK_K, min((part + 1) * tiles * BLOCK_K, K)
    for k in tl.range(first, last, BLOCK_K, num_stages=SHRINK_STAGES):
        o_k = k + tl.arange(0, BLOCK_K)
        b_x = tl.load(p_x + o_k[:, None], mask=(row >= 0)[None, :] & (o_k < K)[:, None], other=0.0)  # [BLOCK_K, M]
        b_a = tl.load(p_a + o_k[None, :], mask=(o_r < rank)[:, None] & (o_k < K)[None, :], other=0)
        if INT8:
            b_a = b_a.to(tl.float32).to(b_x.dtype)  # exact; integers become bfloat16 by way of float32 only
        b_v = tl.dot(b_a, b_x, b_v, input_precision="ieee")  # [BLOCK_R, BLOCK_K] @ [BLOCK_K, M]
    if INT8:
        b_v *= tl.load(factor_ptr + o_r, mask=o_r < rank, other=0.0)[:, None]
    return b_v


# What changes from step to step, and would else be compiled anew where it is 1, or where 16 divides it.
@triton.jit(do_not_specialize=["uses", "sites", "table_stride"])
def lora_shrink_kernel(
    # Tensors
    v_ptr,  # float32 [SPLITS, uses, sites, M, R], written
    x_ptr,  # [T, K]
    row_ptr,  # int32 [blocks, M]
    use_block_ptr,  # int32 [uses]
    slot_ptr,  # int32 [uses], -1: nothing to do
    group_ptr,  # int32 [sites, 3]
    # The table
    table_a_ptr,  # int64 [slots, columns]: addresses of A [rank, K], of x's dtype or int8
    table_factor_ptr,  # int64 [slots, columns]: of float32 [rank], read where A is int8
    table_rank_ptr,  # int32 [slots, columns]
    # Sizes and strides
    K,
    R,
    uses,
    sites,
    x_stride,
    table_stride,
    # Tiles
    M: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLITS: tl.constexpr,
    INT8: tl.constexpr,
    SHRINK_STAGES: tl.constexpr,
):
    """Semantics: v[p, u, s, i, j] = sum over part p of K of A[slot[u], site[s]][j, :] * x[row[block[u], i], :].

    With INT8, times factor[j]. From the adapter's rank to the next multiple of 16 v is 0, past that it is not written.

    Grid: (uses, tiles of R * SPLITS, sites). A tile past its adapter's own rank reads and writes nothing, so an adapter
    costs its true rank. Each part of K is a sum of its own: the second kernel adds them in order, without atomics.
    """
    use = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1) // SPLITS
    part = tl.program_id(1) % SPLITS
    site = tl.program_id(2)
    slot = tl.load(slot_ptr + use)
    if slot < 0:  # the empty tail of a captured plan
        return
    cell = slot.to(tl.int64) * table_stride + tl.load(group_ptr + site * 3)
    rank = tl.load(table_rank_ptr + cell)
    if tile * BLOCK_R >= rank:
        return
    stored: tl.constexpr = tl.int8 if INT8 else x_ptr.dtype.element_ty
    a_ptr = tl.load(table_a_ptr + cell).to(tl.pointer_type(stored))
    a_ptr = tl.multiple_of(a_ptr, 64)  # buffers begin on 64 bytes, and layout.py aligns each array in them
    factor_ptr = tl.load(table_factor_ptr + cell).to(tl.pointer_type(tl.float32))

    o_m = tl.arange(0, M)
    o_r = tile * BLOCK_R + tl.arange(0, BLOCK_R)
    row = tl.load(row_ptr + tl.load(use_block_ptr + use).to(tl.int64) * M + o_m)  # [M]
    b_v = shrunk_part(
        x_ptr, row, a_ptr, factor_ptr, o_r, rank, part, K, x_stride, M, BLOCK_R, BLOCK_K, SPLITS, INT8, SHRINK_STAGES
    )  # fmt: skip
    p_v = v_ptr + (((part * uses + use) * sites + site) * M + o_m.to(tl.int64))[None, :] * R + o_r[:, None]
    b_v = tl.where((o_r < rank)[:, None], b_v, 0.0)  # infinity times a masked 0 is no 0
    tl.store(p_v, b_v, mask=(o_r < tl.cdiv(rank, 16) * 16)[:, None])  # [BLOCK_R, M]
