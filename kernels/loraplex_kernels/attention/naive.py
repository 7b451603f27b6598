"""The attention reference: one row, one head at a time, exactly as the formula reads."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.attention.batch import AttentionBatch
from loraplex_kernels.attention.cache import KVLayer


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
    does (masking_utils.sliding_window_overlay).

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
    for sequence, count in enumerate(batch.query_counts):
        for _ in range(count):
            position = int(batch.positions[row])
            first = 0 if window is None else max(0, position - window + 1)
            seen = torch.arange(first, position + 1, device=q.device)
            blocks = batch.block_table[sequence, seen // batch.block_size].long()
            keys = cache.k[blocks, :, seen % batch.block_size].to(compute)  # [seen, num_kv_heads, head_dim]
            values = cache.v[blocks, :, seen % batch.block_size].to(compute)
            for head in range(q.shape[1]):
                scores = scale * (keys[:, head // group] @ q[row, head].to(compute))
                if softcap is not None:
                    scores = softcap * torch.tanh(scores / softcap)
                out[row, head] = (torch.softmax(scores, dim=0) @ values[:, head // group]).to(q.dtype)
            row += 1
    return out
