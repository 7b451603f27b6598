"""Rotary position embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.ops import native, reference
from loraplex_kernels.ops.dispatch import use_triton


def rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turn queries and keys by their positions' angles, in place.

    Semantics: with `R = 2 * cos.shape[1]` and, within each head, `a = x[..., :R/2]` and `b = x[..., R/2:R]`,
    `(a, b) <- (a cos - b sin, b cos + a sin)` in float32; elements from R on stay (partial rotary factor). This is
    transformers' rotate_half convention (arXiv:2104.09864 with the pairs half a head apart).

    Args:
        q: `[T, num_heads, head_dim]`; may be a view of the packed q, k, v (only head_dim must be contiguous).
        k: `[T, num_kv_heads, head_dim]`, alike.
        cos: float32 `[T, R/2]`, of each row's own position, attention scaling included.
        sin: float32 `[T, R/2]`.

    Raises:
        ValueError: the shapes do not fit each other, or the angles are not float32.
    """
    check_rotary(q, k, cos, sin)
    if use_triton(q, k):
        from loraplex_kernels.ops.triton_rotary import rotary_triton

        rotary_triton(q, k, cos.contiguous(), sin.contiguous())
        return
    library = native.kernels(q, k)
    if library is not None:
        native.rotary(library, q, k, cos.contiguous(), sin.contiguous())
    else:
        reference.rotary(q, k, cos, sin)


def gather_angles(cos: Tensor, sin: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of a table of angles, one a row of the step.

    Semantics: `cos[positions], sin[positions]`.

    Args:
        cos: float32 `[length, R/2]`.
        sin: float32 `[length, R/2]`.
        positions: int64 `[T]`.

    Returns:
        cos and sin for `rotary`, float32 `[T, R/2]` each.

    Raises:
        IndexError: a position is not in the table.
    """
    library = native.kernels(cos, sin)
    contiguous = cos.is_contiguous() and sin.is_contiguous() and positions.is_contiguous()
    if library is not None and cos.dtype == torch.float32 and positions.dtype == torch.int64 and contiguous:
        return native.gather_angles(library, cos, sin, positions)
    return cos.index_select(0, positions), sin.index_select(0, positions)


def check_rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Raise the ValueError of `rotary` where its arguments do not fit."""
    rows, half = cos.shape
    if sin.shape != cos.shape or q.shape[0] != rows or k.shape[0] != rows or min(q.shape[2], k.shape[2]) < 2 * half:
        shapes = [list(tensor.shape) for tensor in (q, k, cos, sin)]
        raise ValueError(f"q and k must be [T, heads, head_dim], cos and sin [T, R/2] with R <= head_dim, not {shapes}")
    if cos.dtype != torch.float32 or sin.dtype != torch.float32:
        raise ValueError(f"cos and sin must be float32, not {cos.dtype} and {sin.dtype}")
