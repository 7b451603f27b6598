"""What a model asks of its linears and its embedding, whatever their weights are stored as."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

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
            `[T, N]` in x's dtype, or in float32 where the weight was made `wide`.
        """

    def dequantized(self) -> Tensor:
        """float32 `[N, K]`: the weight that is really served, rounding included."""


@runtime_checkable
class RowWeight(BaseWeight, Protocol):
    """A weight that an embedding can be: alone, or tied to the output layer without a second copy."""

    def rows(self, index: Tensor) -> Tensor:
        """Rows of the weight as it is served, rounding included.

        Args:
            index: int64 `[T]` in `[0, N)`, on the weight's device. On a CPU others may give zeros or raise IndexError.

        Returns:
            `[T, K]` in the activations' dtype.
        """


@runtime_checkable
class SlicedWeight(BaseWeight, Protocol):
    """A weight of which some outputs can be told without the others."""

    def dequantized_part(self, first: int, last: int) -> Tensor:
        """float32 `[last - first, K]`: rows of `dequantized()`."""


def dequantized_part(weight: BaseWeight, first: int, last: int) -> Tensor:
    """float32 `[last - first, K]`: rows of `weight.dequantized()`, and where the weight can, no others are made."""
    if isinstance(weight, SlicedWeight):
        return weight.dequantized_part(first, last)
    return weight.dequantized()[first:last]
