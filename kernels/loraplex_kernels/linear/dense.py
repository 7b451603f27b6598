"""Weights as they came, through torch: GPUs, float16, and machines without the compiled kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class DenseWeight:
    """A floating-point weight.

    Args:
        weight: `[N, K]`, contiguous, in the model's dtype.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.out_features, self.in_features = weight.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the weight."""
        return self.weight.numel() * self.weight.itemsize

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `BaseWeight`."""
        return F.linear(x, self.weight, bias)

    def rows(self, index: Tensor) -> Tensor:
        """See `RowWeight`."""
        return F.embedding(index, self.weight)

    def dequantized(self) -> Tensor:
        """See `BaseWeight`."""
        return self.weight.to(torch.float32)

    def dequantized_part(self, first: int, last: int) -> Tensor:
        """See `SlicedWeight`."""
        return self.weight[first:last].to(torch.float32)
