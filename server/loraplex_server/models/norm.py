"""Root-mean-square norm, with its weight."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.ops import add_rms_norm, rms_norm


class RmsNorm:
    """Args: name: module path. weight: `[H]`. eps: of the mean square. offset: added to the weight, 1 for Gemma."""

    def __init__(self, name: str, weight: Tensor, eps: float, offset: float) -> None:
        self.name = name
        self.weight = weight
        self.eps = eps
        self.offset = offset

    def __call__(self, x: Tensor) -> Tensor:
        """`[..., H]` to `[..., H]`."""
        return rms_norm(x, self.weight, self.eps, self.offset)

    def add(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Add `x` to the residual stream; returns the sum's norm and the sum, each `[T, H]`."""
        return add_rms_norm(x, residual, self.weight, self.eps, self.offset)
