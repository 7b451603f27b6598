"""Gated activations of the feed-forward block."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.ops import native, reference


def silu_and_mul(x: Tensor) -> Tensor:
    """SwiGLU (arXiv:2002.05202).

    Semantics: `silu(x[:, :N]) * x[:, N:]` in float32, rounded once.

    Args:
        x: `[T, 2N]`, gate and up side by side.

    Returns:
        `[T, N]`.

    Raises:
        ValueError: x is not of two dimensions, the second even.
    """
    _check(x)
    library = native.kernels(x)
    return reference.silu_and_mul(x) if library is None else native.gate(library, x, gelu=False)


def gelu_tanh_and_mul(x: Tensor) -> Tensor:
    """GeGLU with GELU's tanh form, Gemma's.

    Semantics: `gelu_tanh(x[:, :N]) * x[:, N:]` in float32, rounded once.

    Args:
        x: `[T, 2N]`, gate and up side by side.

    Returns:
        `[T, N]`.

    Raises:
        ValueError: x is not of two dimensions, the second even.
    """
    _check(x)
    library = native.kernels(x)
    return reference.gelu_tanh_and_mul(x) if library is None else native.gate(library, x, gelu=True)


def _check(x: Tensor) -> None:
    if x.dim() != 2 or x.shape[1] % 2:
        raise ValueError(f"x must be [T, 2N], not {list(x.shape)}")
