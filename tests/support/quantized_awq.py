"""AWQ's tensors, packed field by field as AutoAWQ's WQLinear_GEMM describes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from support.quantized import Packed, rounded
from support.quantized_gptq import meant

# The outputs in a word, from its lowest bits.
ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def words(fields: Tensor) -> Tensor:
    """int64 `[R, N]` to int32 `[R, N / 8]`."""
    packed = torch.zeros(fields.shape[0], fields.shape[1] // 8, dtype=torch.int64)
    for column in range(packed.shape[1]):
        for place, output in enumerate(ORDER):
            packed[:, column] |= fields[:, 8 * column + output] << (4 * place)
    return torch.where(packed >= 1 << 31, packed - (1 << 32), packed).to(torch.int32)


@dataclass(frozen=True)
class Awq:
    """How to quantize."""

    group: int = 16

    @property
    def config(self) -> dict[str, Any]:
        """As AutoAWQ writes it for transformers."""
        return {
            "quant_method": "awq",
            "bits": 4,
            "group_size": self.group,
            "zero_point": True,
            "version": "gemm",
            "modules_to_not_convert": None,
        }

    def pack(self, module: str, weight: Tensor) -> Packed:
        """The tensors of a linear, and what they mean."""
        inputs = weight.shape[1]
        group_of = torch.arange(inputs) // (inputs if self.group == -1 else self.group)
        codes, scale, zero = rounded(weight, 4, group_of, symmetric=False)
        packed = {"qweight": words(codes.t()), "qzeros": words(zero.t()), "scales": scale.t()}
        return packed, meant(codes, scale, zero, group_of)
