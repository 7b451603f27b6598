"""Attention through torch, sequence by sequence: any device, any dtype; what the compiled kernel does not take."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from loraplex_kernels.attention.batch import AttentionBatch
from loraplex_kernels.attention.cache import KVLayer


def sequence_attention(
    q: Tensor,
    cache: KVLayer,
    batch: AttentionBatch,
    sequence: int,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """One sequence's rows of `paged_attention`.

    Nothing but the sequence's own context is gathered, so what other blocks hold, NaN included, cannot leak in.

    Args:
        q: `[count, num_heads, head_dim]`, the sequence's rows alone.
        cache: as in `paged_attention`, like all that follow.
        batch: the whole step's.
        sequence: its index in the batch.
        scale: see `paged_attention`.
        window: see `paged_attention`.
        softcap: see `paged_attention`.

    Returns:
        `[count, num_heads, head_dim]` in q's dtype.
    """
    count, context = batch.query_counts[sequence], batch.context_lens[sequence]
    past = context - count
    first_block = 0 if window is None else max(0, past - window + 1) // batch.block_size
    first = first_block * batch.block_size
    blocks = batch.block_table[sequence, first_block : -(-context // batch.block_size)]
    keys = _gather(cache.k, blocks, context - first)
    values = _gather(cache.v, blocks, context - first)
    queries = q.transpose(0, 1)  # [num_heads, count, head_dim]
    if softcap is not None:
        seen = _mask(count, past - first, context - first, window, q.device)
        return _softcapped(queries, keys, values, seen, scale, softcap).transpose(0, 1)
    plain = past == 0 and (window is None or count <= window)
    mask = None if plain or count == 1 else _mask(count, past - first, context - first, window, q.device)
    if count == 1 and window is not None:
        keys, values = keys[:, -window:], values[:, -window:]
    out: Tensor = F.scaled_dot_product_attention(
        queries[None], keys[None], values[None], attn_mask=mask, is_causal=plain, scale=scale, enable_gqa=True
    )
    return out[0].transpose(0, 1)


def _gather(pages: Tensor, blocks: Tensor, length: int) -> Tensor:
    """The first `length` tokens of these blocks: `[num_kv_heads, length, head_dim]`."""
    chosen = pages.index_select(0, blocks)  # [blocks, num_kv_heads, block_size, head_dim]
    return chosen.transpose(0, 1).reshape(pages.shape[1], -1, pages.shape[3])[:, :length]


def _mask(count: int, past: int, length: int, window: int | None, device: torch.device) -> Tensor:
    """bool `[count, length]`, true where the row may look: `position - window < j <= position`."""
    position = torch.arange(past, past + count, device=device)[:, None]
    column = torch.arange(length, device=device)[None]
    seen = column <= position
    return seen if window is None else seen & (column > position - window)


def _softcapped(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float, softcap: float) -> Tensor:
    """By the formula, in float32 at least: torch's own attention has no place for a softcap."""
    compute = torch.promote_types(queries.dtype, torch.float32)
    grouped = queries.to(compute).view(keys.shape[0], -1, *queries.shape[1:])  # [num_kv_heads, group, count, head_dim]
    scores = grouped @ (keys.to(compute) * scale).transpose(1, 2)[:, None]
    scores = (softcap * torch.tanh(scores / softcap)).masked_fill(~mask, float("-inf"))
    out = torch.softmax(scores, dim=-1) @ values.to(compute)[:, None]
    return out.flatten(0, 1).to(queries.dtype)
