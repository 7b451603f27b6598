"""Paged attention, and writing to its cache: the entry points that the models call."""

from __future__ import annotations

import functools
import importlib.util

import torch
from torch import Tensor

from loraplex_kernels.attention import native_write
from loraplex_kernels.attention.batch import AttentionBatch
from loraplex_kernels.attention.cache import KVLayer
from loraplex_kernels.attention.native import native_attention, supported
from loraplex_kernels.attention.sequence import sequence_attention


def paged_attention(
    q: Tensor,
    cache: KVLayer,
    batch: AttentionBatch,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Causal attention of each row over its own sequence's cached keys and values.

    Semantics: those of `paged_attention_naive`, which has the formula.

    Args:
        q: `[T, num_heads, head_dim]`; may be a view of the packed q, k, v (only head_dim must be contiguous).
        cache: this step's keys and values already written by `write_kv`.
        batch: of the T rows.
        scale: of the scores, usually `head_dim ** -0.5`.
        window: positions that a row sees, its own included; None for all.
        softcap: None for none.

    Returns:
        `[T, num_heads, head_dim]` in q's dtype, contiguous.

    Raises:
        ValueError: shapes or dtypes do not fit each other, the window or the softcap is not positive, a float8 cache
            came without a GPU, or a static batch for which there is no compiled kernel.
    """
    _check(q, cache, batch, window, softcap)
    if q.is_cuda and triton_installed():
        from loraplex_kernels.attention import triton_op  # a machine without a GPU need not have triton

        if triton_op.supported(q, cache):
            return triton_op.paged_attention_triton(q, cache, batch, scale, window, softcap)
    if cache.rounded:
        raise ValueError(f"keys and values in float8: the Triton kernels alone read them, not {q.dtype} on {q.device}")
    if supported(q, cache):
        return native_attention(q, cache, batch, scale, window, softcap)
    if batch.static:
        raise ValueError(f"a static batch: only compiled kernels serve it, and none takes {q.dtype} on {q.device}")
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    row = 0
    for sequence, count in enumerate(batch.query_counts):
        rows = slice(row, row + count)
        out[rows] = sequence_attention(q[rows], cache, batch, sequence, scale, window, softcap)
        row += count
    return out


def write_kv(k: Tensor, v: Tensor, cache: KVLayer, slot_mapping: Tensor) -> None:
    """Put the step's keys and values where their sequences' blocks lie.

    Semantics: those of `write_kv_naive`, which has the formula: rows with a negative slot are not written, and a float8
    cache rounds.

    Args:
        k: `[T, num_kv_heads, head_dim]`; may be a view of the packed q, k, v.
        v: `[T, num_kv_heads, head_dim]`.
        cache: written in place.
        slot_mapping: int64 `[T]`, no slot twice, -1 for a row that is not written.

    Raises:
        ValueError: the cache is float8 and the tensors are not on a GPU with Triton.
        IndexError: on a CPU, a slot is past the cache's end.
    """
    if k.is_cuda and triton_installed():
        from loraplex_kernels.attention import triton_op

        if triton_op.supported(k, cache):
            triton_op.write_kv_triton(k, v, cache, slot_mapping)
            return
    if cache.rounded:
        raise ValueError(f"keys and values in float8: the Triton kernels alone write them, not {k.dtype} on {k.device}")
    if native_write.supported(k, v, cache, slot_mapping):
        native_write.native_write(k, v, cache, slot_mapping)
        return
    if bool((slot_mapping < 0).any()):
        written = slot_mapping >= 0
        k, v, slot_mapping = k[written], v[written], slot_mapping[written]
    blocks, offsets = slot_mapping // cache.block_size, slot_mapping % cache.block_size
    cache.k[blocks, :, offsets] = k
    cache.v[blocks, :, offsets] = v


@functools.cache
def triton_installed() -> bool:
    """Whether Triton can be imported at all."""
    return importlib.util.find_spec("triton") is not None


def _check(q: Tensor, cache: KVLayer, batch: AttentionBatch, window: int | None, softcap: float | None) -> None:
    if q.dim() != 3 or q.shape[0] != batch.tokens:
        raise ValueError(f"q must be [{batch.tokens}, num_heads, head_dim], not {list(q.shape)}")
    if q.shape[2] != cache.head_dim or q.shape[1] % cache.num_kv_heads:
        raise ValueError(
            f"{q.shape[1]} query heads of {q.shape[2]} do not fit {cache.num_kv_heads} cached heads of {cache.head_dim}"
        )
    if q.dtype != cache.k.dtype and not cache.rounded:
        raise ValueError(f"q is {q.dtype}, but the cache holds {cache.k.dtype}")
    if batch.block_size != cache.block_size:
        raise ValueError(
            f"the batch counts in blocks of {batch.block_size}, the cache has blocks of {cache.block_size}"
        )
    if window is not None and window < 1:
        raise ValueError(f"window must be positive, not {window}")
    if softcap is not None and softcap <= 0:
        raise ValueError(f"softcap must be positive, not {softcap}")
