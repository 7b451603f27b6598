"""What every quantized form can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor

F = TypeVar("F")


class WeightForm(Protocol):
    """A weight `[N, K]` that was rounded to few bits: a frozen dataclass of tensors and numbers."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def shape(self) -> tuple[int, int]:
        """N and K."""

    def dequantized(self) -> Tensor:
        """float32 `[N, K]`: the weight that it stands for, exactly."""

    def slice(self: F, first: int, last: int) -> F:
        """The outputs from `first` to before `last`; where it can be, a view."""

    def narrow(self: F, first: int, last: int) -> F:
        """The inputs from `first` to before `last`: exactly the same weights, whatever groups these cut through.

        Raises:
            ValueError: the form cannot say what they are.
        """

    @classmethod
    def stack(cls: type[F], parts: Sequence[F]) -> F:
        """Several linears that share their input as one, their outputs side by side.

        Raises:
            ValueError: they differ in something that one weight has only once.
        """
