"""Keys and values into the cache through the compiled CPU kernel (csrc/qkv.c), with what comes before that."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.attention.cache import KVLayer
from loraplex_kernels.launch import launch

_BFLOAT16 = {torch.float32: 0, torch.bfloat16: 1}


class _QKV(ctypes.Structure):
    """`struct qkv`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "cos", "sin", "slots", "keys", "values")),
        *((name, ctypes.c_void_p) for name in ("q_norm", "k_norm")),
        *((name, ctypes.c_int64) for name in ("rows", "heads", "kv_heads", "head_dim", "half")),
        *((name, ctypes.c_int64) for name in ("q_row", "q_head", "k_row", "k_head", "v_row", "v_head")),
        *((name, ctypes.c_int64) for name in ("blocks", "block_size", "bf16")),
        *((name, ctypes.c_double) for name in ("eps", "offset")),
    )


class Turn(NamedTuple):
    """What is done to queries and keys before the keys are kept."""

    q: Tensor  # [T, heads, head_dim], turned in place
    cos: Tensor  # float32 [T, R/2], contiguous
    sin: Tensor  # float32 [T, R/2], contiguous
    norms: tuple[Tensor, Tensor, float, float] | None  # weights of q and k [head_dim], eps, offset


def supported(k: Tensor, v: Tensor, cache: KVLayer, slot_mapping: Tensor, *others: Tensor) -> bool:
    """Whether the compiled kernel is there and takes these: one dtype with the cache, heads contiguous, on the CPU."""
    dtype = cache.k.dtype
    if dtype not in _BFLOAT16 or not (cache.k.is_contiguous() and cache.v.is_contiguous()):
        return False
    for tensor in (k, v, cache.k, cache.v, *others):  # a loop, since this stands in every layer
        if not tensor.is_cpu or tensor.dtype is not dtype or tensor.stride(-1) != 1:
            return False
    return slot_mapping.is_cpu and slot_mapping.is_contiguous() and native.library() is not None


def native_write(k: Tensor, v: Tensor, cache: KVLayer, slot_mapping: Tensor, turn: Turn | None = None) -> None:
    """`write_kv` for what is `supported`; with `turn`, `norm_rotary_write`, k then being left in an unknown state.

    Raises:
        IndexError: a slot is past the cache's end.
        RuntimeError: the kernels are not there.
    """
    library = native.library()
    if library is None:
        raise RuntimeError(native.status())
    q, cos, sin, norms = (None, None, None, None) if turn is None else turn
    arguments = _QKV(
        None if q is None else q.data_ptr(),
        k.data_ptr(),
        v.data_ptr(),
        None if cos is None else cos.data_ptr(),
        None if sin is None else sin.data_ptr(),
        slot_mapping.data_ptr(),
        cache.k.data_ptr(),
        cache.v.data_ptr(),
        None if norms is None else norms[0].data_ptr(),
        None if norms is None else norms[1].data_ptr(),
        k.shape[0],
        0 if q is None else q.shape[1],
        *k.shape[1:],
        0 if cos is None else cos.shape[1],
        *((0, 0) if q is None else q.stride()[:2]),
        *k.stride()[:2],
        *v.stride()[:2],
        cache.num_blocks,
        cache.block_size,
        _BFLOAT16[k.dtype],
        *((0.0, 0.0) if norms is None else norms[2:]),
    )
    launch(library.loraplex_qkv, arguments)
