"""Attention through the compiled CPU kernel (csrc/attention.c)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.attention.batch import AttentionBatch
from loraplex_kernels.attention.cache import KVLayer
from loraplex_kernels.launch import empty, launch

_ELEMENTS = {torch.float32: 0, torch.bfloat16: 1}
_MOST_HEAD_DIM = 256
_MOST_GROUP = 64  # query heads of a kv head: a block of rows


class _Attention(ctypes.Structure):
    """`struct attention`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "out", "starts", "contexts", "table")),
        *((name, ctypes.c_int64) for name in ("sequences", "heads", "kv_heads", "head_dim", "block_size")),
        *((name, ctypes.c_int64) for name in ("table_width", "q_stride", "element", "window")),
        *((name, ctypes.c_double) for name in ("scale", "softcap")),
    )


def supported(q: Tensor, cache: KVLayer) -> bool:
    """Whether the compiled kernel is there and takes these tensors."""
    return (
        q.device.type == "cpu"
        and q.dtype in _ELEMENTS
        and cache.head_dim % 8 == 0
        and cache.head_dim <= _MOST_HEAD_DIM
        and q.shape[1] // cache.num_kv_heads <= _MOST_GROUP
        and cache.k.is_contiguous()
        and cache.v.is_contiguous()
        and native.library() is not None
    )


def native_attention(
    q: Tensor,
    cache: KVLayer,
    batch: AttentionBatch,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """`paged_attention` for what is `supported`.

    A row's result is bitwise the same whatever else is in the batch, however its sequence was cut into chunks and
    however many threads there are.

    Raises:
        MemoryError: no room for the kernel's own plan.
        RuntimeError: the kernels are not there.
    """
    library = native.library()
    if library is None:
        raise RuntimeError(native.status())
    if q.stride(2) != 1 or q.stride(1) != q.shape[2]:
        q = q.contiguous()
    out = empty(*q.shape, dtype=q.dtype)
    arguments = _Attention(
        q.data_ptr(),
        cache.k.data_ptr(),
        cache.v.data_ptr(),
        out.data_ptr(),
        batch.query_start.data_ptr(),
        batch.context.data_ptr(),
        batch.block_table.data_ptr(),
        len(batch.query_counts),
        q.shape[1],
        cache.num_kv_heads,
        cache.head_dim,
        cache.block_size,
        batch.block_table.stride(0),
        q.stride(0),
        _ELEMENTS[q.dtype],
        window or 0,
        scale,
        softcap or 0.0,
    )
    launch(library.loraplex_attention, arguments)
    return out
