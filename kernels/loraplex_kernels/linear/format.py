"""What a model asks of its linears, whatever their weights are stored as."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class BaseWeight(Protocol):
    """The weight of one linear of the base model, or of several that share their input, stacked."""

    @property
    def in_features(self) -> int:
        """K."""

    @property
    def out_features(self) -> int:
        """N."""

    @property
    def nbytes(self) -> int:
        """Memory that the weight takes, scales and packing included."""

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """`x W^T + bias`.

        Args:
            x: `[T, K]`.
            bias: `[N]` in x's dtype.

        Returns:
            `[T, N]` in x's dtype.
        """

    def dequantized(self) -> Tensor:
        """float32 `[N, K]`: the weight that is really served, rounding included."""
