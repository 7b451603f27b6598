"""The attention reference: one row, one head at a time, exactly as the formula reads."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.attention.batch import AttentionBatch
from loraplex_kernels.attention.cache import FLOAT8_MAX, KVLayer


def paged_attention_naive(
    q: Tensor,
    cache: KVLayer,
    batch: AttentionBatch,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Causal attention of each row over its own sequence's cached keys and values.

    Semantics: with `s_j = scale * q . k_j` (through `softcap * tanh(s_j / softcap)` where there is a softcap), the
    output is `sum_j softmax(s)_j v_j` over the positions j with `p - window < j <= p`, p being the row's own. Query
    head h reads key-value head `h // (num_heads / num_kv_heads)`. The window counts the row itself, as transformers'
    does (masking_utils.sliding_window_overlay). Where the cache is float8, `k_j` and `v_j` are the stored values times
    the cache's scales. A sequence whose `context` is 0 is padding: its row is 0.

    Args:
        q: `[T, num_heads, head_dim]`.
        cache: this step's keys and values already written.
        batch: of the T rows.
        scale: of the scores, usually `head_dim ** -0.5`.
        window: positions that a row sees, its own included; None for all.
        softcap: None for none.

    Returns:
        `[T, num_heads, head_dim]` in q's dtype, computed in float32 (float64 where q is).
    """
    compute = torch.float64 if q.dtype == torch.float64 else torch.float32
    group = q.shape[1] // cache.num_kv_heads
    out = torch.empty_like(q)
    row = 0
    starts = batch.query_start.tolist()
    for sequence, context in enumerate(batch.context.tolist()):
        for _ in range(starts[sequence + 1] - starts[sequence]):
            if context == 0:
                out[row] = 0
                row += 1
                continue
            position = int(batch.positions[row])
            first = 0 if window is None else max(0, position - window + 1)
            seen = torch.arange(first, position + 1, device=q.device)
            blocks = batch.block_table[sequence, seen // batch.block_size].long()
            keys = cache.k_scale * cache.k[blocks, :, seen % batch.block_size].to(compute)  # [seen, kv_heads, head_dim]
            values = cache.v_scale * cache.v[blocks, :, seen % batch.block_size].to(compute)
            for head in range(q.shape[1]):
                scores = scale * (keys[:, head // group] @ q[row, head].to(compute))
                if softcap is not None:
                    scores = softcap * torch.tanh(scores / softcap)
                out[row, head] = (torch.softmax(scores, dim=0) @ values[:, head // group]).to(q.dtype)
            row += 1
    return out


def write_kv_naive(k: Tensor, v: Tensor, cache: KVLayer, slot_mapping: Tensor) -> None:
    """Put the step's keys and values where their sequences' blocks lie, one row at a time.

    Semantics: `cache.k[slot // block_size, :, slot % block_size] = k[row]` for each row whose slot is not negative, v
    alike; where the cache is float8, `k[row] / k_scale` as KVLayer says that it is rounded.

    Args:
        k: `[T, num_kv_heads, head_dim]`.
        v: `[T, num_kv_heads, head_dim]`.
        cache: written in place.
        slot_mapping: int64 `[T]`, no slot twice, -1 for a row that is not written.
    """
    for row, slot in enumerate(slot_mapping.tolist()):
        if slot < 0:
            continue
        block, offset = divmod(slot, cache.block_size)
        for pages, x, scale in ((cache.k, k[row], cache.k_scale), (cache.v, v[row], cache.v_scale)):
            if cache.rounded:
                x = (x.float() / scale).clamp(-FLOAT8_MAX, FLOAT8_MAX)
            pages[block, :, offset] = x.to(pages.dtype)
