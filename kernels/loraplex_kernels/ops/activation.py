"""Gated activations of the feed-forward block."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.ops import reference


def silu_and_mul(x: Tensor) -> Tensor:
    """SwiGLU (arXiv:2002.05202).

    Semantics: `silu(x[:, :N]) * x[:, N:]` in float32, rounded once.

    Args:
        x: `[T, 2N]`, gate and up side by side.

    Returns:
        `[T, N]`.
    """
    return reference.silu_and_mul(x)


def gelu_tanh_and_mul(x: Tensor) -> Tensor:
    """GeGLU with GELU's tanh form, Gemma's.

    Semantics: `gelu_tanh(x[:, :N]) * x[:, N:]` in float32, rounded once.

    Args:
        x: `[T, 2N]`, gate and up side by side.

    Returns:
        `[T, N]`.
    """
    return reference.gelu_tanh_and_mul(x)
