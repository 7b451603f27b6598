"""Linears that share their input but not their form, behind one weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from loraplex_kernels.linear.format import BaseWeight, dequantized_part


class SideBySide:
    """Semantics: the outputs of all parts, one beside the other, as if their weights were stacked.

    For checkpoints that rounded the linears of one layer in different ways: to other groups, or only some of them.

    Args:
        parts: of the same width K.

    Raises:
        ValueError: there are none, or they differ in K.
    """

    def __init__(self, parts: Sequence[BaseWeight]) -> None:
        if len({part.in_features for part in parts}) != 1:
            raise ValueError(f"linears side by side share their input, not {[part.in_features for part in parts]}")
        self.parts = tuple(parts)
        self.in_features = parts[0].in_features
        self.out_features = sum(part.out_features for part in parts)

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.nbytes for part in self.parts)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `BaseWeight`."""
        y = x.new_empty(x.shape[0], self.out_features)
        first = 0
        for part in self.parts:
            last = first + part.out_features
            y[:, first:last] = part(x, None if bias is None else bias[first:last])
            first = last
        return y

    def dequantized(self) -> Tensor:
        """See `BaseWeight`."""
        return self.dequantized_part(0, self.out_features)

    def dequantized_part(self, first: int, last: int) -> Tensor:
        """See `SlicedWeight`."""
        rows, before = [], 0
        for part in self.parts:
            start, end = max(first - before, 0), min(last - before, part.out_features)
            if start < end:
                rows.append(dequantized_part(part, start, end))
            before += part.out_features
        return torch.cat(rows)
