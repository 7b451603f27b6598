"""Attention of one new row a sequence on a GPU: each context in splits, so that few sequences fill the device too."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from loraplex_kernels.attention.online_softmax import attend


@triton.jit
def splits_of(visible, SPLIT: tl.constexpr, SPLIT_STEP: tl.constexpr, MAX_SPLITS: tl.constexpr):
    """Tokens of a split, by the sequence's own length alone, and the number of its splits."""
    size = tl.maximum(tl.cdiv(tl.cdiv(visible, MAX_SPLITS), SPLIT_STEP) * SPLIT_STEP, SPLIT)
    return size, tl.cdiv(visible, size)


@triton.jit
def visible_from(context, window, WINDOW: tl.constexpr, TILE: tl.constexpr):
    """Where the first tile that the last row sees begins."""
    if WINDOW:
        return tl.maximum(context - window, 0) // TILE * TILE
    return 0


@triton.jit(do_not_specialize=["table_stride", "grid_splits", "window"])
def decode_kernel(
    # Tensors
    out_ptr,  # [T, KV_HEADS * GROUP, HEAD_DIM], written where a sequence has one split
    part_ptr,  # float32 [B, KV_HEADS * GROUP, grid_splits, HEAD_DIM], written where it has several
    sum_ptr,  # float32 [B, KV_HEADS * GROUP, grid_splits, 2]: largest score and sum of each part, alike
    q_ptr,  # [T, KV_HEADS * GROUP, HEAD_DIM]
    k_ptr,  # [blocks, KV_HEADS, BLOCK_SIZE, HEAD_DIM]
    v_ptr,
    # The step
    query_start_ptr,  # int32 [B + 1]
    context_ptr,  # int32 [B]
    table_ptr,  # int32 [B, most blocks]
    # Sizes and strides
    q_stride,
    table_stride,
    grid_splits,
    window,
    score_scale,
    cap,
    v_scale,
    # Tiles
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    TILE: tl.constexpr,
    SPLIT: tl.constexpr,
    SPLIT_STEP: tl.constexpr,
    MAX_SPLITS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Semantics: `paged_attention_naive` for sequences with one row, as parts for `merge_kernel` where they are cut.

    Grid: (splits of the longest context, KV_HEADS, B). All query heads of a kv head are the rows of one tile, so keys
    and values are read once. Programs of sequences with other than one row, and those past a sequence's last split,
    return at once. A sequence without a context is padding: its row becomes 0.
    """
    split, kv_head = tl.program_id(0), tl.program_id(1)
    sequence = tl.program_id(2).to(tl.int64)
    row = tl.load(query_start_ptr + sequence).to(tl.int64)
    rows = tl.load(query_start_ptr + sequence + 1) - row
    context = tl.load(context_ptr + sequence)
    begin = visible_from(context, window, WINDOW, TILE)
    size, splits = splits_of(context - begin, SPLIT, SPLIT_STEP, MAX_SPLITS)
    if (rows != 1) | (split >= tl.maximum(splits, 1)):
        return
    o_m, o_d = tl.arange(0, M), tl.arange(0, BLOCK_D)
    head = kv_head * GROUP + o_m
    m_q = (o_m < GROUP)[:, None] & (o_d < HEAD_DIM)[None, :]
    b_q = tl.load(q_ptr + row * q_stride + head[:, None] * HEAD_DIM + o_d[None, :], mask=m_q, other=0.0)
    begin += split * size
    # fmt: off
    b_acc, b_m, b_l = attend(
        tl.zeros([M, BLOCK_D], dtype=tl.float32),
        tl.full([M], float("-inf"), dtype=tl.float32),
        tl.zeros([M], dtype=tl.float32),
        b_q,
        k_ptr + kv_head * (BLOCK_SIZE * HEAD_DIM),
        v_ptr + kv_head * (BLOCK_SIZE * HEAD_DIM),
        table_ptr + sequence * table_stride,
        begin, tl.maximum(begin, context - window) if WINDOW else begin, tl.minimum(begin + size, context),
        tl.zeros([M], dtype=tl.int32) + (context - 1), window, score_scale, cap, True, WINDOW, SOFTCAP,
        HEAD_DIM, BLOCK_D, BLOCK_SIZE, KV_HEADS * BLOCK_SIZE * HEAD_DIM, TILE, PRECISION,
    )
    # fmt: on
    HEADS: tl.constexpr = KV_HEADS * GROUP
    if splits <= 1:
        b_out = b_acc / tl.where(b_l == 0.0, 1.0, b_l)[:, None] * v_scale
        p_out = out_ptr + (row * HEADS + head)[:, None] * HEAD_DIM + o_d[None, :]
        tl.store(p_out, b_out.to(out_ptr.dtype.element_ty), mask=m_q)
    else:
        part = (sequence * HEADS + head) * grid_splits + split  # [M]
        tl.store(part_ptr + part[:, None] * HEAD_DIM + o_d[None, :], b_acc, mask=m_q)
        tl.store(sum_ptr + part * 2, b_m, mask=o_m < GROUP)
        tl.store(sum_ptr + part * 2 + 1, b_l, mask=o_m < GROUP)


@triton.jit(do_not_specialize=["grid_splits", "window"])
def merge_kernel(
    # Tensors
    out_ptr,  # [T, HEADS, HEAD_DIM], written where a sequence has several splits
    part_ptr,  # float32 [B, HEADS, grid_splits, HEAD_DIM]
    sum_ptr,  # float32 [B, HEADS, grid_splits, 2]
    # The step
    query_start_ptr,  # int32 [B + 1]
    context_ptr,  # int32 [B]
    # Sizes
    grid_splits,
    window,
    v_scale,
    # Tiles
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    WINDOW: tl.constexpr,
    BLOCK_D: tl.constexpr,
    TILE: tl.constexpr,
    SPLIT: tl.constexpr,
    SPLIT_STEP: tl.constexpr,
    MAX_SPLITS: tl.constexpr,
):
    """Semantics: out = sum of 2 ** (m_s - m) part_s over sum of 2 ** (m_s - m) l_s, with m the largest of the m_s.

    Grid: (HEADS, B). The sums run over MAX_SPLITS places, those past a sequence's own being 0, always in one order.
    """
    head = tl.program_id(0)
    sequence = tl.program_id(1).to(tl.int64)
    row = tl.load(query_start_ptr + sequence).to(tl.int64)
    rows = tl.load(query_start_ptr + sequence + 1) - row
    context = tl.load(context_ptr + sequence)
    visible = context - visible_from(context, window, WINDOW, TILE)
    splits = splits_of(visible, SPLIT, SPLIT_STEP, MAX_SPLITS)[1]
    if (rows != 1) | (splits <= 1):
        return
    o_s, o_d = tl.arange(0, MAX_SPLITS), tl.arange(0, BLOCK_D)
    m_s, m_d = o_s < splits, o_d < HEAD_DIM
    part = (sequence * HEADS + head) * grid_splits + o_s  # [MAX_SPLITS]
    b_m = tl.load(sum_ptr + part * 2, mask=m_s, other=float("-inf"))
    b_l = tl.load(sum_ptr + part * 2 + 1, mask=m_s, other=0.0)
    b_weight = tl.exp2(b_m - tl.max(b_m, axis=0))
    p_part = part_ptr + part[:, None] * HEAD_DIM + o_d[None, :]
    b_part = tl.load(p_part, mask=m_s[:, None] & m_d[None, :], other=0.0)  # [MAX_SPLITS, BLOCK_D]
    b_out = tl.sum(b_part * b_weight[:, None], axis=0) / tl.sum(b_l * b_weight, axis=0) * v_scale
    tl.store(out_ptr + (row * HEADS + head) * HEAD_DIM + o_d, b_out.to(out_ptr.dtype.element_ty), mask=m_d)
