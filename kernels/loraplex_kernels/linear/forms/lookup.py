"""Four bits that index a table of sixteen values, scaled by blocks: NF4 and FP4 of bitsandbytes, QLoRA's base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loraplex_kernels.linear.forms.parted import parted


@dataclass(frozen=True)
class Lookup:
    """Semantics: `W[n, k] = table[codes[n, k]] * absmax[n, k // block]` (QLoRA, arXiv:2305.14314, section 3).

    Raises:
        ValueError: shapes do not belong together.
    """

    codes: Tensor  # uint8 [N, K], each below 16
    absmax: Tensor  # float32 [N, K / block]
    table: Tensor  # float32 [16]
    block: int  # inputs of one absmax; divides K

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
        outputs, inputs = self.codes.shape
        if inputs % self.block or self.absmax.shape != (outputs, inputs // self.block) or self.table.shape != (16,):
            raise ValueError(
                f"codes {list(self.codes.shape)}, absmax {list(self.absmax.shape)} and a table of "
                f"{list(self.table.shape)} do not belong together in blocks of {self.block}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """See `WeightForm`."""
        outputs, inputs = self.codes.shape
        return outputs, inputs

    def dequantized(self) -> Tensor:
        """See `WeightForm`."""
        values = self.table[self.codes.long()]
        return values * self.absmax.repeat_interleave(self.block, dim=1)

    def slice(self, first: int, last: int) -> Lookup:
        """See `WeightForm`."""
        return replace(self, codes=self.codes[first:last], absmax=self.absmax[first:last])

    def narrow(self, first: int, last: int) -> Lookup:
        """See `WeightForm`. Blocks that it would cut become smaller ones of the same absmax."""
        block, left = parted(self.block, first, last, whole=True)
        return replace(self, codes=self.codes[:, first:last].contiguous(), absmax=left(self.absmax), block=block)

    @classmethod
    def stack(cls, parts: Sequence[Lookup]) -> Lookup:
        """See `WeightForm`."""
        first = parts[0]
        if any(part.block != first.block or not torch.equal(part.table, first.table) for part in parts):
            raise ValueError("linears with another block or another table cannot be stacked")
        codes, absmax = (torch.cat([getattr(part, name) for part in parts]) for name in ("codes", "absmax"))
        return cls(codes, absmax, first.table, first.block)
