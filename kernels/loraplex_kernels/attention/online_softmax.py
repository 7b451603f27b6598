"""Attention of a tile of rows over a stretch of one sequence's cache: what the Triton kernels have in common."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def attend(
    # The running softmax
    b_acc,  # float32 [M, BLOCK_D]: sum of 2 ** (s - m) v
    b_m,  # float32 [M]: largest s so far
    b_l,  # float32 [M]: sum of 2 ** (s - m)
    # Tensors
    b_q,  # [M, BLOCK_D]
    k_ptr,  # of one kv head in block 0
    v_ptr,
    table_ptr,  # of one sequence
    # Positions
    begin,  # of the first tile
    first,  # of the stretch
    last,  # behind the stretch
    p_m,  # [M]: of the rows themselves
    window,
    # Scores
    score_scale,
    cap,
    MASKED: tl.constexpr,  # the stretch has positions that some of the rows must not see
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    # Sizes and tiles
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    BLOCK_STRIDE: tl.constexpr,  # elements of a block of the cache
    TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Semantics: the running softmax with the positions [first, last) added, in order, TILE at a time from begin.

    Nothing outside [first, last) is read, neither the cache nor the block table. Where not MASKED, the stretch is whole
    tiles that all rows see. Scores are in base 2, that is to say times log2(e), which the caller has put into
    score_scale, or, with a softcap, into cap: s = cap * tanh(x) with 2 x log2(e) = score_scale * (q . k).
    """
    o_d = tl.arange(0, BLOCK_D)
    m_d = o_d < HEAD_DIM
    for start in range(begin, last, TILE):
        position = start + tl.arange(0, TILE)
        inside = (position >= first) & (position < last)
        if MASKED:
            block = tl.load(table_ptr + position // BLOCK_SIZE, mask=inside, other=0)
        else:
            block = tl.load(table_ptr + position // BLOCK_SIZE)
        at = block.to(tl.int64) * BLOCK_STRIDE + (position % BLOCK_SIZE) * HEAD_DIM  # [TILE]
        p_k = k_ptr + at[None, :] + o_d[:, None]
        p_v = v_ptr + at[:, None] + o_d[None, :]
        if MASKED:
            # Not even times 0 may what nobody wrote be added: it may be NaN.
            b_k = tl.load(p_k, mask=inside[None, :] & m_d[:, None], other=0.0)
            b_v = tl.load(p_v, mask=inside[:, None] & m_d[None, :], other=0.0)
        elif HEAD_DIM < BLOCK_D:
            b_k = tl.load(p_k, mask=m_d[:, None], other=0.0)
            b_v = tl.load(p_v, mask=m_d[None, :], other=0.0)
        else:
            b_k = tl.load(p_k)  # [BLOCK_D, TILE]
            b_v = tl.load(p_v)  # [TILE, BLOCK_D]
        b_s = tl.dot(b_q, b_k.to(b_q.dtype), input_precision=PRECISION) * score_scale  # [M, TILE]
        if SOFTCAP:
            b_e = tl.exp2(tl.where(b_s > 64.0, 64.0, b_s))  # of 64, tanh is 1; NaN stays
            b_s = cap * ((b_e - 1.0) / (b_e + 1.0))
        if MASKED:
            seen = inside[None, :] & (position[None, :] <= p_m[:, None])
            if WINDOW:
                seen = seen & (position[None, :] > p_m[:, None] - window)
            b_s = tl.where(seen, b_s, float("-inf"))
        b_top = tl.maximum(b_m, tl.max(b_s, axis=1))
        # Of a masked tile a row may see nothing: -inf less -inf would be NaN.
        b_base = tl.where(b_top == float("-inf"), 0.0, b_top) if MASKED else b_top
        b_p = tl.exp2(b_s - b_base[:, None])
        b_shrink = tl.exp2(b_m - b_base)
        b_l = b_l * b_shrink + tl.sum(b_p, axis=1)
        b_acc = b_acc * b_shrink[:, None]
        b_acc = tl.dot(b_p.to(b_q.dtype), b_v.to(b_q.dtype), b_acc, input_precision=PRECISION)
        b_m = b_top
    return b_acc, b_m, b_l
