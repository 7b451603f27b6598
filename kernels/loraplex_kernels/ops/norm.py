"""Root-mean-square norm, alone or with the residual's addition before it."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.ops import native, reference
from loraplex_kernels.ops.dispatch import use_triton


def rms_norm(x: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> Tensor:
    """Scale each row to unit root mean square, then by the weight.

    Semantics: `x / sqrt(mean(x^2) + eps) * (offset + weight)` in float32, rounded once at the end (arXiv:1910.07467).

    Args:
        x: `[..., H]`: rows of hidden states, or `[T, heads, head_dim]` for q and k norms.
        weight: `[H]`.
        eps: added to the mean square.
        offset: 1 for Gemma, whose checkpoints store the weight less one.

    Returns:
        As x, contiguous.

    Raises:
        ValueError: the weight is not `[H]`.
    """
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"weight must be {list(x.shape[-1:])}, not {list(weight.shape)}")
    if x.dim() in (2, 3):
        if use_triton(x, weight):
            from loraplex_kernels.ops.triton_norm import rms_norm_triton

            return rms_norm_triton(x, weight, eps, offset)
        library = native.kernels(x, weight)
        if library is not None:
            return native.rms_norm(library, x, weight, eps, offset)
    return reference.rms_norm(x, weight, eps, offset)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """Add a block's output to the residual stream and norm the sum for the next block.

    Semantics: `sum = x + residual`, rounded to their dtype, then `(rms_norm(sum), sum)`.

    Args:
        x: `[T, H]`, the block's output.
        residual: `[T, H]`.
        weight: `[H]`.
        eps: added to the mean square.
        offset: see `rms_norm`.

    Returns:
        The norm's output and the new residual, each `[T, H]`.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    if weight.shape != x.shape[-1:] or residual.shape != x.shape:
        shapes = [list(tensor.shape) for tensor in (x, residual, weight)]
        raise ValueError(f"x, residual and weight must be [T, H], [T, H] and [H], not {shapes}")
    if x.dim() == residual.dim() == 2:
        if use_triton(x, residual, weight):
            from loraplex_kernels.ops.triton_norm import add_rms_norm_triton

            return add_rms_norm_triton(x, residual, weight, eps, offset)
        library = native.kernels(x, residual, weight)
        if library is not None:
            return native.add_rms_norm(library, x, residual, weight, eps, offset)
    return reference.add_rms_norm(x, residual, weight, eps, offset)
