"""Attention of sequences with several new rows on a GPU: prompts, chunks of them, and what follows a cached prefix."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from loraplex_kernels.attention.online_softmax import attend


@triton.jit(do_not_specialize=["table_stride", "window"])
def prefill_kernel(
    # Tensors
    out_ptr,  # [T, KV_HEADS * GROUP, HEAD_DIM], written
    q_ptr,  # [T, KV_HEADS * GROUP, HEAD_DIM]
    k_ptr,  # [blocks, KV_HEADS, BLOCK_SIZE, HEAD_DIM]
    v_ptr,
    # The step
    unit_ptr,  # int32 [U, 2]: sequence, first row
    query_start_ptr,  # int32 [B + 1]
    context_ptr,  # int32 [B]
    table_ptr,  # int32 [B, most blocks]
    # Sizes and strides
    q_stride,
    table_stride,
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
    UNIT_ROWS: tl.constexpr,
    M: tl.constexpr,  # divides UNIT_ROWS
    BLOCK_D: tl.constexpr,
    TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Semantics: `paged_attention_naive` for the sequences of the units.

    Grid: (UNIT_ROWS * GROUP / M, KV_HEADS, U). A unit's rows, each as often as a kv head has query heads, are cut into
    tiles of M: whatever GROUP is, no row of a tile is wasted, and neighbours share their keys. Tiles past the
    sequence's last row return at once.

    The stretch that a tile sees has three parts: where its window begins, what all of its rows see, and where its rows
    are themselves. Only the outer two are masked.
    """
    kv_head = tl.program_id(1)
    unit = tl.program_id(2).to(tl.int64)
    sequence = tl.load(unit_ptr + unit * 2).to(tl.int64)
    first_row = tl.load(unit_ptr + unit * 2 + 1)
    start = tl.load(query_start_ptr + sequence)
    count = tl.load(query_start_ptr + sequence + 1) - start
    past = tl.load(context_ptr + sequence) - count
    flat = tl.program_id(0) * M
    lowest = first_row + flat // GROUP  # row of the sequence
    if lowest >= count:
        return
    highest = tl.minimum(first_row + (flat + M - 1) // GROUP, count - 1)
    o_m, o_d = flat + tl.arange(0, M), tl.arange(0, BLOCK_D)
    row = first_row + o_m // GROUP
    head = kv_head * GROUP + o_m % GROUP
    m_q = (row < count)[:, None] & (o_d < HEAD_DIM)[None, :]
    p_q = q_ptr + (start + row).to(tl.int64)[:, None] * q_stride + (head * HEAD_DIM)[:, None] + o_d[None, :]
    b_q = tl.load(p_q, mask=m_q, other=0.0)
    b_acc = tl.zeros([M, BLOCK_D], dtype=tl.float32)
    b_m = tl.full([M], float("-inf"), dtype=tl.float32)
    b_l = tl.zeros([M], dtype=tl.float32)
    p_m = past + row
    k_ptr += kv_head * (BLOCK_SIZE * HEAD_DIM)
    v_ptr += kv_head * (BLOCK_SIZE * HEAD_DIM)
    table_ptr += sequence * table_stride
    own = (past + lowest + 1) // TILE * TILE  # up to here every row sees all, but for the window
    seen_from, begin = 0, 0
    BLOCK_STRIDE: tl.constexpr = KV_HEADS * BLOCK_SIZE * HEAD_DIM
    # fmt: off
    if WINDOW:
        seen_from = tl.maximum(past + lowest - window + 1, 0)
        whole = tl.cdiv(tl.maximum(past + highest - window + 1, 0), TILE) * TILE  # from here every row sees all
        begin = tl.minimum(whole, own)
        b_acc, b_m, b_l = attend(
            b_acc, b_m, b_l, b_q, k_ptr, v_ptr, table_ptr,
            seen_from // TILE * TILE, seen_from, begin, p_m, window, score_scale, cap, True, WINDOW, SOFTCAP,
            HEAD_DIM, BLOCK_D, BLOCK_SIZE, BLOCK_STRIDE, TILE, PRECISION,
        )
    b_acc, b_m, b_l = attend(
        b_acc, b_m, b_l, b_q, k_ptr, v_ptr, table_ptr,
        begin, begin, own, p_m, window, score_scale, cap, False, WINDOW, SOFTCAP,
        HEAD_DIM, BLOCK_D, BLOCK_SIZE, BLOCK_STRIDE, TILE, PRECISION,
    )
    b_acc, b_m, b_l = attend(
        b_acc, b_m, b_l, b_q, k_ptr, v_ptr, table_ptr,
        own, tl.maximum(seen_from, own), past + highest + 1, p_m, window, score_scale, cap, True, WINDOW, SOFTCAP,
        HEAD_DIM, BLOCK_D, BLOCK_SIZE, BLOCK_STRIDE, TILE, PRECISION,
    )
    # fmt: on
    b_out = b_acc / tl.where(b_l == 0.0, 1.0, b_l)[:, None] * v_scale  # 0 in rows past the sequence's, not stored
    p_out = out_ptr + ((start + row).to(tl.int64) * (KV_HEADS * GROUP) + head)[:, None] * HEAD_DIM + o_d[None, :]
    tl.store(p_out, b_out.to(out_ptr.dtype.element_ty), mask=m_q)
