"""The second half of the low-rank update on a GPU: y += weight * scale * B v, for every block of rows."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from loraplex_kernels.lora.triton_shrink import shrunk_part


# What changes from step to step, and would else be compiled anew where it is 1, or where 16 divides it.
@triton.jit(do_not_specialize=["uses", "sites", "table_stride"])
def lora_expand_kernel(
    # Tensors
    y_ptr,  # [T, sum of widths], changed in place
    v_ptr,  # float32 [SPLITS, uses, sites, M, R]; not read with FUSED
    x_ptr,  # [T, K]; read with FUSED only
    row_ptr,  # int32 [blocks, M]
    use_start_ptr,  # int32 [blocks + 1]
    slot_ptr,  # int32 [uses]
    weight_ptr,  # float32 [uses, M]
    group_ptr,  # int32 [sites, 3]
    # The table
    table_a_ptr,  # int64 [slots, columns]: addresses of A [rank, K], of x's dtype or int8
    table_b_ptr,  # int64 [slots, columns]: addresses of B transposed [rank, width], of y's dtype or int8
    table_factor_ptr,  # int64 [slots, columns]: of float32 [rank], read where A is int8
    table_magnitude_ptr,  # int64 [slots, columns]: of float32 [width], 0 without DoRA
    table_rank_ptr,  # int32 [slots, columns]
    table_scale_ptr,  # float32 [slots, columns]
    # Sizes and strides
    K,
    R,
    uses,
    sites,
    x_stride,
    y_stride,
    table_stride,
    # Tiles
    M: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLITS: tl.constexpr,
    WIDTH_MULTIPLE: tl.constexpr,  # divides every width and offset: rows of B and y can be read in wide words
    MAGNITUDE: tl.constexpr,
    INT8: tl.constexpr,
    FUSED: tl.constexpr,
    SHRINK_STAGES: tl.constexpr,
    EXPAND_STAGES: tl.constexpr,
):
    """Semantics: y[row[b, i], columns of s] += sum over b's uses u of w * ((m - 1) * y + m * scale * v[u, s, i] B).

    With m = 1 where the adapter has no magnitude; the y on the right is the base's, as it came in.

    Grid: (blocks, tiles of the widest site, sites). A row is in one block and a column in one tile, so every element
    of y is read once and written once, by one program, which adds its adapters in order: no atomics, no race between
    the adapters of one row, and no copy of the base's output for DoRA.

    With FUSED the first kernel is not needed: each program works v out again, by the same sums in the same order, and
    so to the same bits. A is then read once for each tile of columns.
    """
    block = tl.program_id(0).to(tl.int64)
    site = tl.program_id(2)
    first = tl.load(use_start_ptr + block).to(tl.int64)
    last = tl.load(use_start_ptr + block + 1).to(tl.int64)
    if first == last:  # the empty tail of a captured plan
        return
    column = tl.load(group_ptr + site * 3)
    offset = tl.multiple_of(tl.load(group_ptr + site * 3 + 1), WIDTH_MULTIPLE)
    width = tl.multiple_of(tl.load(group_ptr + site * 3 + 2), WIDTH_MULTIPLE)
    o_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    if tl.program_id(1) * BLOCK_N >= width:
        return
    m_n = o_n < width
    o_m = tl.arange(0, M)
    row = tl.load(row_ptr + block * M + o_m)  # [M]
    p_y = y_ptr + row.to(tl.int64)[:, None] * y_stride + (offset + o_n)[None, :]  # [M, BLOCK_N]
    m_y = (row >= 0)[:, None] & m_n[None, :]
    b_y = tl.load(p_y, mask=m_y, other=0.0)  # the base's; asked for first, since it waits for no address of the table
    stored: tl.constexpr = tl.int8 if INT8 else y_ptr.dtype.element_ty
    # With the factor of int8 weights in it, v may be smaller than float16 can tell from 0. TensorFloat32 is as precise,
    # has float32's range, and holds int8 exactly; three such products are as good as one in float32.
    product: tl.constexpr = tl.float32 if INT8 else stored
    tensor_float: tl.constexpr = "tf32x3" if y_ptr.dtype.element_ty == tl.float32 else "tf32"
    precision: tl.constexpr = tensor_float if INT8 else "ieee"
    b_total = tl.zeros([BLOCK_N, M], dtype=tl.float32)
    touched = 0
    for use in tl.range(first, last, num_stages=1):
        cell = tl.load(slot_ptr + use).to(tl.int64) * table_stride + column
        rank = tl.load(table_rank_ptr + cell)
        touched += rank
        b_ptr = tl.load(table_b_ptr + cell).to(tl.pointer_type(stored))
        b_ptr = tl.multiple_of(b_ptr, 64)  # buffers begin on 64 bytes, and layout.py aligns each array in them
        b_sum = tl.zeros([BLOCK_N, M], dtype=tl.float32)
        for r in tl.range(0, rank, BLOCK_R, num_stages=EXPAND_STAGES):
            o_r = r + tl.arange(0, BLOCK_R)
            m_r = o_r < rank
            b_v = tl.zeros([BLOCK_R, M], dtype=tl.float32)
            if FUSED:
                a_ptr = tl.multiple_of(tl.load(table_a_ptr + cell).to(tl.pointer_type(stored)), 64)
                factor_ptr = tl.load(table_factor_ptr + cell).to(tl.pointer_type(tl.float32))
                for part in tl.range(0, SPLITS, num_stages=1):
                    b_v += shrunk_part(
                        x_ptr, row, a_ptr, factor_ptr, o_r, rank, part, K, x_stride,
                        M, BLOCK_R, BLOCK_K, SPLITS, INT8, SHRINK_STAGES,
                    )  # fmt: skip
                b_v = tl.where(m_r[:, None], b_v, 0.0)  # as the first kernel does: infinity times a masked 0 is no 0
            else:
                # The first kernel wrote zeros up to here: whole tiles are read in wide words, a rank's own end is not.
                m_v = o_r < tl.cdiv(rank, 16) * 16
                for part in tl.static_range(SPLITS):
                    at = ((part * uses + use) * sites + site) * M + o_m  # [M]
                    b_v += tl.load(v_ptr + at[None, :] * R + o_r[:, None], mask=m_v[:, None], other=0.0)
            p_b = b_ptr + o_r.to(tl.int64)[None, :] * width + o_n[:, None]
            b_b = tl.load(p_b, mask=m_n[:, None] & m_r[None, :], other=0)  # [BLOCK_N, BLOCK_R]
            b_sum = tl.dot(b_b.to(product), b_v.to(product), b_sum, input_precision=precision)
        weight = tl.load(weight_ptr + use * M + o_m)  # [M]
        b_sum *= (weight * tl.load(table_scale_ptr + cell))[None, :]
        if MAGNITUDE:
            magnitude = tl.load(table_magnitude_ptr + cell)
            if (magnitude != 0) & (rank > 0):
                p_m = magnitude.to(tl.pointer_type(tl.float32)) + o_n
                b_m = tl.load(p_m, mask=m_n, other=1.0)[:, None]  # [BLOCK_N, 1]
                b_sum = b_sum * b_m + weight[None, :] * (b_m - 1.0) * tl.trans(b_y.to(tl.float32))
        b_total += b_sum
    if touched > 0:  # rows that no adapter touches at this site keep their very bits
        tl.store(p_y, (b_y.to(tl.float32) + tl.trans(b_total)).to(y_ptr.dtype.element_ty), mask=m_y)
