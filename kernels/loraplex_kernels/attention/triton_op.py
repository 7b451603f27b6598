"""Attention and cache writes on a GPU: checks, allocates, launches."""

from __future__ import annotations

import math

import torch
import triton
from torch import Tensor

from loraplex_kernels.attention.batch import UNIT_ROWS, AttentionBatch
from loraplex_kernels.attention.cache import KVLayer
from loraplex_kernels.attention.launch import (
    MAX_SPLITS,
    SPLIT,
    SPLIT_STEP,
    WRITE_BLOCK,
    WRITE_WARPS,
    block_of,
    decode_launch,
    merge_warps,
    prefill_launch,
)
from loraplex_kernels.attention.triton_decode import decode_kernel, merge_kernel
from loraplex_kernels.attention.triton_prefill import prefill_kernel
from loraplex_kernels.attention.triton_write import write_kv_kernel

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MOST_HEAD_DIM = 256


def supported(q: Tensor, cache: KVLayer) -> bool:
    """Whether the kernels take these; what they do not take goes through torch."""
    return (
        q.dtype in DTYPES
        and (q.dtype == cache.k.dtype or cache.rounded)
        and cache.head_dim <= MOST_HEAD_DIM
        and cache.k.is_contiguous()
        and cache.v.is_contiguous()
    )


def paged_attention_triton(
    q: Tensor,
    cache: KVLayer,
    batch: AttentionBatch,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """`paged_attention` for what is `supported`.

    Sequences with one row and those with several are launches of their own. A sequence's result is bitwise the same
    from run to run and whatever else is in the batch: tiles and splits are cut by its own length alone.

    Args:
        q: `[T, num_heads, head_dim]`.
        cache: float8, or of q's dtype.
        batch: of the T rows; with `static`, lengths are read on the device alone.
        scale: of the scores.
        window: None for all.
        softcap: None for none.

    Returns:
        `[T, num_heads, head_dim]` in q's dtype, contiguous. The scores, their softmax and the sums are float32; the
        softmax is rounded to q's dtype before it is multiplied with the values, as flash attention does.
    """
    if q.stride(2) != 1 or q.stride(1) != q.shape[2]:
        q = q.contiguous()
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    if batch.longest_decode:
        _decode(out, q, cache, batch, scale, window, softcap)
    if batch.units.shape[0]:
        _prefill(out, q, cache, batch, scale, window, softcap)
    return out


def write_kv_triton(k: Tensor, v: Tensor, cache: KVLayer, slot_mapping: Tensor) -> None:
    """`write_kv` in one launch, for a contiguous cache of k's dtype or float8."""
    k, v = (x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous() for x in (k, v))
    width = cache.num_kv_heads * cache.head_dim
    block = min(WRITE_BLOCK, triton.next_power_of_2(width))
    write_kv_kernel[(k.shape[0], triton.cdiv(width, block))](
        *(k, v, cache.k, cache.v, slot_mapping, k.stride(0), v.stride(0), cache.k_scale, cache.v_scale),
        KV_HEADS=cache.num_kv_heads,
        HEAD_DIM=cache.head_dim,
        BLOCK_SIZE=cache.block_size,
        BLOCK=block,
        FLOAT8=cache.rounded,
        num_warps=WRITE_WARPS,
        enable_fp_fusion=True,
    )


def grid_splits(longest: int, window: int | None) -> int:
    """The most splits that a context of up to `longest` is cut into."""
    if window is not None:
        longest = min(longest, window + SPLIT_STEP - 1)  # it begins with a whole tile
    return max(1, min(MAX_SPLITS, -(-longest // SPLIT)))


def score_factors(cache: KVLayer, scale: float, softcap: float | None) -> tuple[float, float]:
    """`score_scale` and `cap` of `attend`."""
    scale *= cache.k_scale
    if softcap is None:
        return scale * math.log2(math.e), 0.0
    return 2 * scale / softcap * math.log2(math.e), softcap * math.log2(math.e)


def _decode(
    out: Tensor,
    q: Tensor,
    cache: KVLayer,
    batch: AttentionBatch,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> None:
    sequences, heads, head_dim = batch.context.shape[0], q.shape[1], q.shape[2]
    splits = grid_splits(batch.longest_decode, window)
    group, block_d = heads // cache.num_kv_heads, block_of(head_dim)
    launch = decode_launch(q.element_size(), block_d)
    common = {
        "HEAD_DIM": head_dim,
        "WINDOW": window is not None,
        "BLOCK_D": block_d,
        "TILE": launch.tile,
        "SPLIT": SPLIT,
        "SPLIT_STEP": SPLIT_STEP,
        "MAX_SPLITS": MAX_SPLITS,
    }
    kept = splits if splits > 1 else 0  # with one split for all, nothing is left to merge
    part = torch.empty(sequences, heads, kept, head_dim, dtype=torch.float32, device=q.device)
    sums = torch.empty(sequences, heads, kept, 2, dtype=torch.float32, device=q.device)
    step = (batch.query_start, batch.context)
    decode_kernel[(splits, cache.num_kv_heads, sequences)](
        *(out, part, sums, q, cache.k, cache.v, *step, batch.block_table),
        *(q.stride(0), batch.block_table.stride(0), splits, window or 0),
        *(*score_factors(cache, scale, softcap), cache.v_scale),
        KV_HEADS=cache.num_kv_heads,
        GROUP=group,
        BLOCK_SIZE=cache.block_size,
        SOFTCAP=softcap is not None,
        M=max(16, triton.next_power_of_2(group)),
        PRECISION=launch.precision,
        num_warps=launch.warps,
        num_stages=launch.stages,
        enable_fp_fusion=True,
        **common,
    )
    if splits > 1:
        merge_kernel[(heads, sequences)](
            *(out, part, sums, *step, splits, window or 0, cache.v_scale),
            HEADS=heads,
            num_warps=merge_warps(block_d),
            enable_fp_fusion=True,
            **common,
        )


def _prefill(
    out: Tensor,
    q: Tensor,
    cache: KVLayer,
    batch: AttentionBatch,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> None:
    group, head_dim = q.shape[1] // cache.num_kv_heads, q.shape[2]
    block_d = block_of(head_dim)
    launch = prefill_launch(q.element_size(), block_d, q.device)
    prefill_kernel[(UNIT_ROWS * group // launch.rows, cache.num_kv_heads, batch.units.shape[0])](
        *(out, q, cache.k, cache.v, batch.units, batch.query_start, batch.context, batch.block_table),
        *(q.stride(0), batch.block_table.stride(0), window or 0),
        *(*score_factors(cache, scale, softcap), cache.v_scale),
        KV_HEADS=cache.num_kv_heads,
        GROUP=group,
        HEAD_DIM=head_dim,
        BLOCK_SIZE=cache.block_size,
        WINDOW=window is not None,
        SOFTCAP=softcap is not None,
        UNIT_ROWS=UNIT_ROWS,
        M=launch.rows,
        BLOCK_D=block_d,
        TILE=launch.tile,
        PRECISION=launch.precision,
        num_warps=launch.warps,
        num_stages=launch.stages,
        enable_fp_fusion=True,
    )
