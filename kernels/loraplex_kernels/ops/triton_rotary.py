"""Queries and keys on a GPU from the projection to the cache: norm of each head, rotary embedding, KV write."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from loraplex_kernels.attention.cache import KVLayer
from loraplex_kernels.attention.triton_write import stored
from loraplex_kernels.ops.head_norms import HeadNorms
from loraplex_kernels.ops.turned_heads import turn_heads

# Elements of a program's tile: few, so that the one row of a decoding step still has programs for many cores.
TILE = 512
WARPS = 1


@triton.jit
def rotary_kernel(
    # Tensors
    q_ptr,  # [T, Q_HEADS, HEAD_DIM], changed in place
    k_ptr,  # [T, KV_HEADS, HEAD_DIM], changed in place unless WRITE
    v_ptr,  # [T, KV_HEADS, HEAD_DIM]; with WRITE
    cos_ptr,  # float32 [T, HALF]
    sin_ptr,  # float32 [T, HALF]
    q_weight_ptr,  # [HEAD_DIM]; with NORM
    k_weight_ptr,  # [HEAD_DIM]; with NORM
    k_cache_ptr,  # [blocks, KV_HEADS, BLOCK_SIZE, HEAD_DIM]; with WRITE
    v_cache_ptr,  # [blocks, KV_HEADS, BLOCK_SIZE, HEAD_DIM]; with WRITE
    slot_ptr,  # int64 [T]; with WRITE
    # Strides and scalars
    q_row,
    q_head,
    k_row,
    k_head,
    v_row,
    v_head,
    cos_row,
    sin_row,
    eps,
    offset,
    k_scale,
    v_scale,
    # Sizes and tiles
    Q_HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    HEADS: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    NORM: tl.constexpr,
    WRITE: tl.constexpr,
    FLOAT8: tl.constexpr,
):
    """Semantics: q = rotary(norm(q)), k = rotary(norm(k)); with WRITE k and v go to the cache, k stays as it was.

    A slot of -1 writes nothing. Grid: (T, tiles of HEADS heads of q, then of k, then, with WRITE, of v).
    """
    row = tl.program_id(0).to(tl.int64)
    Q_TILES: tl.constexpr = (Q_HEADS + HEADS - 1) // HEADS
    KV_TILES: tl.constexpr = (KV_HEADS + HEADS - 1) // HEADS
    tile = tl.program_id(1)
    p_cos, p_sin = cos_ptr + row * cos_row, sin_ptr + row * sin_row
    if tile < Q_TILES:
        head = (tile * HEADS + tl.arange(0, HEADS))[:, None]
        p_q = q_ptr + row * q_row + head * q_head
        turn_heads(
            p_q, p_q, head < Q_HEADS, p_cos, p_sin, q_weight_ptr, eps, offset, 1.0,
            HEAD_DIM, HALF, BLOCK_HALF, BLOCK_REST, NORM, False, False,
        )  # fmt: skip
        return
    tile -= Q_TILES
    head = (tile % KV_TILES * HEADS + tl.arange(0, HEADS))[:, None]
    m_head = head < KV_HEADS
    p_k = k_ptr + row * k_row + head * k_head
    if WRITE:
        slot = tl.load(slot_ptr + row)
        m_head = head < tl.where(slot >= 0, KV_HEADS, 0)
        to = slot // BLOCK_SIZE * (KV_HEADS * BLOCK_SIZE * HEAD_DIM) + slot % BLOCK_SIZE * HEAD_DIM
        to += head * (BLOCK_SIZE * HEAD_DIM)
        if tile < KV_TILES:
            turn_heads(
                p_k, k_cache_ptr + to, m_head, p_cos, p_sin, k_weight_ptr, eps, offset, k_scale,
                HEAD_DIM, HALF, BLOCK_HALF, BLOCK_REST, NORM, True, FLOAT8,
            )  # fmt: skip
        else:
            o_d = tl.arange(0, BLOCK_DIM)[None, :]
            mask = m_head & (o_d < HEAD_DIM)
            b_v = tl.load(v_ptr + row * v_row + head * v_head + o_d, mask=mask, other=0.0)
            tl.store(v_cache_ptr + to + o_d, stored(b_v, v_scale, FLOAT8), mask=mask)
    else:
        turn_heads(
            p_k, p_k, m_head, p_cos, p_sin, k_weight_ptr, eps, offset, 1.0,
            HEAD_DIM, HALF, BLOCK_HALF, BLOCK_REST, NORM, False, False,
        )  # fmt: skip


def rotary_triton(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> None:
    """`ops.rope.rotary`."""
    _launch(q, k, k, cos, sin, None, None, None)


def norm_rotary_write_triton(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    cache: KVLayer,
    slot_mapping: Tensor,
    norms: HeadNorms | None,
) -> Tensor:
    """`ops.norm_rotary_write`, in place; k stays as it was."""
    _launch(q, k, v, cos, sin, cache, slot_mapping, norms)
    return q


def _launch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    cache: KVLayer | None,
    slots: Tensor | None,
    norms: HeadNorms | None,
) -> None:
    rows, q_heads, head_dim = q.shape
    if not rows or not cos.shape[1]:
        return
    tiles = _tiles(q_heads, k.shape[1], head_dim, cos.shape[1])
    programs = triton.cdiv(q_heads, tiles["HEADS"]) + (2 if cache else 1) * triton.cdiv(k.shape[1], tiles["HEADS"])
    weights = (q, k) if norms is None else (norms.q, norms.k)
    places = (k, v, cos) if cache is None else (cache.k, cache.v, slots)
    rotary_kernel[(rows, programs)](
        *(q, k, v, cos, sin, *weights, *places),
        *(q.stride(0), q.stride(1), k.stride(0), k.stride(1), v.stride(0), v.stride(1), cos.stride(0), sin.stride(0)),
        *((0.0, 0.0) if norms is None else (float(norms.eps), float(norms.offset))),
        *((1.0, 1.0) if cache is None else (float(cache.k_scale), float(cache.v_scale))),
        **tiles,
        BLOCK_SIZE=1 if cache is None else cache.block_size,
        NORM=norms is not None,
        WRITE=cache is not None,
        FLOAT8=cache is not None and cache.rounded,
        num_warps=WARPS,
    )


def _tiles(q_heads: int, kv_heads: int, head_dim: int, half: int) -> dict[str, int]:
    block_dim = triton.next_power_of_2(head_dim)
    return {
        "Q_HEADS": q_heads,
        "KV_HEADS": kv_heads,
        "HEAD_DIM": head_dim,
        "HALF": half,
        "HEADS": max(1, TILE // block_dim),
        "BLOCK_HALF": triton.next_power_of_2(half),
        "BLOCK_REST": triton.next_power_of_2(max(1, head_dim - 2 * half)),
        "BLOCK_DIM": block_dim,
    }
