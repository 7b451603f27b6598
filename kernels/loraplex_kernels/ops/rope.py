"""Rotary position embedding."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.ops import reference


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
    """
    reference.rotary(q, k, cos, sin)
