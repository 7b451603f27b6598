"""Root-mean-square norm, alone or with the residual's addition before it."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.ops import reference


def rms_norm(x: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> Tensor:
    """Scale each row to unit root mean square, then by the weight.

    Semantics: `x / sqrt(mean(x^2) + eps) * (offset + weight)` in float32, rounded once at the end (arXiv:1910.07467).

    Args:
        x: `[..., H]`: rows of hidden states, or `[T, heads, head_dim]` for q and k norms.
        weight: `[H]`.
        eps: added to the mean square.
        offset: 1 for Gemma, whose checkpoints store the weight less one.

    Returns:
        As x.
    """
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
    """
    return reference.add_rms_norm(x, residual, weight, eps, offset)
