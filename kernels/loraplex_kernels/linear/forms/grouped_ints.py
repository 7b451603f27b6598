"""Integers with a scale, and perhaps a zero point, for each group of inputs: GPTQ, AWQ, compressed-tensors, our own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loraplex_kernels.linear.forms.parted import parted


@dataclass(frozen=True)
class GroupedInts:
    """Semantics: `W[n, input(k)] = scale[n, k // group] * (codes[n, k] - zero[n, k // group])`.

    `input(k)` is k, or `order[k]` where GPTQ sorted the inputs by how much they matter (desc_act).

    Raises:
        ValueError: shapes do not belong together.
    """

    codes: Tensor  # uint8 [N, K], each below 2 ** bits
    scale: Tensor  # float [N, groups]
    zero: Tensor | None  # float [N, groups]; None: 2 ** (bits - 1) everywhere, symmetric
    group: int  # inputs of one scale; the last group may be shorter
    bits: int  # 4 or 8
    order: Tensor | None = None  # int64 [K], a permutation

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
        outputs, inputs = self.codes.shape
        expected = (outputs, -(-inputs // self.group))
        if self.scale.shape != expected or (self.zero is not None and self.zero.shape != expected):
            raise ValueError(f"scale and zero point of [{outputs}, {inputs}] in groups of {self.group} are {expected}")
        if self.codes.dtype != torch.uint8 or self.bits not in (4, 8):
            raise ValueError(f"codes are uint8 of 4 or 8 bits, not {self.codes.dtype} of {self.bits}")
        if self.order is not None and self.order.shape != (inputs,):
            raise ValueError(f"an order of {inputs} inputs has as many places, not {list(self.order.shape)}")

    @property
    def shape(self) -> tuple[int, int]:
        """See `WeightForm`."""
        outputs, inputs = self.codes.shape
        return outputs, inputs

    def dequantized(self) -> Tensor:
        """See `WeightForm`."""
        inputs = self.codes.shape[1]
        zero = torch.full_like(self.scale, 2 ** (self.bits - 1)) if self.zero is None else self.zero
        scale, zero = (
            part.to(torch.float32).repeat_interleave(self.group, dim=1)[:, :inputs] for part in (self.scale, zero)
        )
        values = scale * (self.codes.to(torch.float32) - zero)
        return values if self.order is None else torch.empty_like(values).index_copy_(1, self.order, values)

    def slice(self, first: int, last: int) -> GroupedInts:
        """See `WeightForm`."""
        zero = None if self.zero is None else self.zero[first:last]
        return replace(self, codes=self.codes[first:last], scale=self.scale[first:last], zero=zero)

    def narrow(self, first: int, last: int) -> GroupedInts:
        """See `WeightForm`. Groups that it would cut become smaller ones of the same scales."""
        if self.order is not None:
            raise ValueError("inputs that were sorted (desc_act) lie all over the groups, and cannot be parted")
        group, left = parted(self.group, first, last)
        zero = None if self.zero is None else left(self.zero)
        codes = self.codes[:, first:last].contiguous()
        return replace(self, codes=codes, scale=left(self.scale), zero=zero, group=group)

    @classmethod
    def stack(cls, parts: Sequence[GroupedInts]) -> GroupedInts:
        """See `WeightForm`."""
        first = parts[0]
        orders = [part.order for part in parts]
        alike = all(part.group == first.group and part.bits == first.bits for part in parts)
        same_order = all(
            (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))
            for a, b in itertools.pairwise(orders)
        )
        if not alike or not same_order:
            raise ValueError("linears with another group, another number of bits or another order cannot be stacked")
        zero = None
        if any(part.zero is not None for part in parts):
            middle = 2 ** (first.bits - 1)
            zero = torch.cat([torch.full_like(p.scale, middle) if p.zero is None else p.zero for p in parts])
        return cls(
            torch.cat([part.codes for part in parts]),
            torch.cat([part.scale for part in parts]),
            zero,
            first.group,
            first.bits,
            first.order,
        )
