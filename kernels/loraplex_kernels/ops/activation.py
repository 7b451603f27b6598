"""Gated activations of the feed-forward block."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.ops import native, reference
from loraplex_kernels.ops.dispatch import use_triton


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
    return _gate(x, gelu=False)


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
    return _gate(x, gelu=True)


def _gate(x: Tensor, *, gelu: bool) -> Tensor:
    if x.dim() != 2 or x.shape[1] % 2:
        raise ValueError(f"x must be [T, 2N], not {list(x.shape)}")
    if use_triton(x):
        from loraplex_kernels.ops.triton_gate import gate_triton

        return gate_triton(x, gelu=gelu)
    library = native.kernels(x)
    if library is not None:
        return native.gate(library, x, gelu=gelu)
    return reference.gelu_tanh_and_mul(x) if gelu else reference.silu_and_mul(x)
