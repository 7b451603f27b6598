"""Heads of queries and keys, normed and turned: the part of the rotary kernel that both share. Triton's."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from loraplex_kernels.attention.triton_write import stored


@triton.jit
def normed(b_a, b_b, b_c, p_weight, o_half, o_rest, eps, offset, HEAD_DIM: tl.constexpr, HALF: tl.constexpr):
    """The three parts of each head over the root mean square of all of them, times the weight; float32."""
    squares = tl.sum(b_a * b_a, axis=1) + tl.sum(b_b * b_b, axis=1) + tl.sum(b_c * b_c, axis=1)
    inverse = tl.rsqrt(squares / HEAD_DIM + eps)[:, None]
    m_half, m_rest = o_half < HALF, o_rest < HEAD_DIM - 2 * HALF
    w_a = tl.load(p_weight + o_half, mask=m_half, other=0.0).to(tl.float32) + offset
    w_b = tl.load(p_weight + HALF + o_half, mask=m_half, other=0.0).to(tl.float32) + offset
    w_c = tl.load(p_weight + 2 * HALF + o_rest, mask=m_rest, other=0.0).to(tl.float32) + offset
    return b_a * inverse * w_a[None, :], b_b * inverse * w_b[None, :], b_c * inverse * w_c[None, :]


@triton.jit
def turn_heads(
    p_x,  # [HEADS, 1]: where each head begins
    p_to,  # [HEADS, 1]: and where it goes
    m_head,  # [HEADS, 1]
    p_cos,
    p_sin,
    p_weight,
    eps,
    offset,
    scale,
    HEAD_DIM: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
    NORM: tl.constexpr,
    MOVES: tl.constexpr,  # p_to is elsewhere: what the rotation leaves alone has to go there too
    FLOAT8: tl.constexpr,
):
    """Semantics: p_to = rotary(rms_norm(p_x)), the norm with NORM and rounded to x's dtype, the rest in float32."""
    dtype: tl.constexpr = p_x.dtype.element_ty
    o_half, o_rest = tl.arange(0, BLOCK_HALF), tl.arange(0, BLOCK_REST)
    m_half = m_head & (o_half < HALF)[None, :]
    m_rest = m_head & (o_rest < HEAD_DIM - 2 * HALF)[None, :]
    at_a, at_b, at_c = o_half[None, :], HALF + o_half[None, :], 2 * HALF + o_rest[None, :]
    b_a = tl.load(p_x + at_a, mask=m_half, other=0.0).to(tl.float32)  # [HEADS, BLOCK_HALF]
    b_b = tl.load(p_x + at_b, mask=m_half, other=0.0).to(tl.float32)
    b_c = tl.load(p_x + at_c, mask=m_rest, other=0.0).to(tl.float32)  # [HEADS, BLOCK_REST]
    if NORM:
        b_a, b_b, b_c = normed(b_a, b_b, b_c, p_weight, o_half, o_rest, eps, offset, HEAD_DIM, HALF)
        b_a, b_b = b_a.to(dtype).to(tl.float32), b_b.to(dtype).to(tl.float32)
    cos = tl.load(p_cos + o_half, mask=o_half < HALF, other=0.0)[None, :]
    sin = tl.load(p_sin + o_half, mask=o_half < HALF, other=0.0)[None, :]
    b_first, b_second = (b_a * cos - b_b * sin).to(dtype), (b_b * cos + b_a * sin).to(dtype)
    tl.store(p_to + at_a, stored(b_first, scale, FLOAT8), mask=m_half)
    tl.store(p_to + at_b, stored(b_second, scale, FLOAT8), mask=m_half)
    if NORM or MOVES:
        tl.store(p_to + at_c, stored(b_c.to(dtype), scale, FLOAT8), mask=m_rest)
