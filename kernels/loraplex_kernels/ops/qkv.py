"""What happens to queries, keys and values between their projection and attention, as one op."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.attention import native_write
from loraplex_kernels.attention.cache import KVLayer
from loraplex_kernels.attention.op import write_kv
from loraplex_kernels.ops.dispatch import use_triton
from loraplex_kernels.ops.head_norms import HeadNorms
from loraplex_kernels.ops.norm import rms_norm
from loraplex_kernels.ops.rope import check_rotary, rotary


def norm_rotary_write(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    cache: KVLayer,
    slot_mapping: Tensor,
    norms: HeadNorms | None = None,
) -> Tensor:
    """Norm and turn queries and keys, and put keys and values into the cache.

    Semantics: `q, k = rms_norm(q), rms_norm(k)` where there are norms, `rotary(q, k)`, `write_kv(k, v)`, each rounding
    as it does by itself. One launch, on a GPU and on a CPU.

    Args:
        q: `[T, num_heads, head_dim]`; may be a view of the packed q, k, v. What is in q and k afterwards is not said.
        k: `[T, num_kv_heads, head_dim]`, alike.
        v: `[T, num_kv_heads, head_dim]`, alike.
        cos: float32 `[T, R/2]`, see `rotary`.
        sin: float32 `[T, R/2]`.
        cache: written in place.
        slot_mapping: int64 `[T]`, no slot twice; -1: the row's key and value are not kept.
        norms: over each head of q and k; None for none.

    Returns:
        The queries to look with, `[T, num_heads, head_dim]`.

    Raises:
        ValueError: the shapes do not fit each other, or the angles are not float32.
        IndexError: on a CPU, a slot is past the cache's end.
    """
    check_rotary(q, k, cos, sin)
    heads = (k.shape[0], cache.num_kv_heads, cache.head_dim)
    if k.shape != heads or v.shape != heads or q.shape[2] != cache.head_dim or slot_mapping.shape != k.shape[:1]:
        shapes = [list(tensor.shape) for tensor in (q, k, v, slot_mapping)]
        raise ValueError(f"q, k, v and the slots {shapes} do not fit a cache of {list(heads[1:])} heads")
    weights = () if norms is None else (norms.q, norms.k)
    if any(weight.shape != (cache.head_dim,) for weight in weights):
        raise ValueError(f"the norms' weights must be [{cache.head_dim}]")
    if _fuses(q, k, v, cache, weights):
        from loraplex_kernels.ops.triton_rotary import norm_rotary_write_triton

        return norm_rotary_write_triton(q, k, v, _rows(cos), _rows(sin), cache, slot_mapping, norms)
    if native_write.supported(k, v, cache, slot_mapping, q, *weights):
        turn = native_write.Turn(q, cos.contiguous(), sin.contiguous(), norms)
        native_write.native_write(k, v, cache, slot_mapping, turn)
        return q
    if norms is not None:
        q, k = rms_norm(q, norms.q, norms.eps, norms.offset), rms_norm(k, norms.k, norms.eps, norms.offset)
    rotary(q, k, cos, sin)
    write_kv(k, v, cache, slot_mapping)
    return q


def _fuses(q: Tensor, k: Tensor, v: Tensor, cache: KVLayer, weights: tuple[Tensor, ...]) -> bool:
    """Whether the kernel takes all of them: it writes what it computed, or float8 where the hardware rounds to it."""
    if not (use_triton(q, k, v, *weights) and cache.k.is_cuda and cache.k.is_contiguous() and cache.v.is_contiguous()):
        return False
    return cache.k.dtype == k.dtype or (cache.rounded and torch.cuda.get_device_capability(k.device) >= (8, 9))


def _rows(angles: Tensor) -> Tensor:
    return angles if angles.stride(1) == 1 else angles.contiguous()
