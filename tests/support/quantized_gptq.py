"""GPTQ's tensors, packed field by field as AutoGPTQ's and GPTQModel's quantized linears describe them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from support.quantized import Packed, rounded


def words(fields: Tensor, bits: int) -> Tensor:
    """int64 `[R, C]` to int32 `[R * bits / 32, C]`: each word takes its fields from rows, the first one lowest."""
    each = 32 // bits
    packed = torch.zeros(fields.shape[0] // each, fields.shape[1], dtype=torch.int64)
    for row in range(fields.shape[0]):
        packed[row // each] |= fields[row] << (bits * (row % each))
    return torch.where(packed >= 1 << 31, packed - (1 << 32), packed).to(torch.int32)


@dataclass(frozen=True)
class Gptq:
    """How to quantize."""

    bits: int = 4
    group: int = 32
    act_order: bool = False
    symmetric: bool = True
    version: str = "gptq"
    act_order_is_static: bool = False  # groups stay in order though they were quantized by importance (static_groups)

    @property
    def config(self) -> dict[str, Any]:
        """As AutoGPTQ and GPTQModel write it."""
        return {
            "quant_method": "gptq",
            "bits": self.bits,
            "group_size": self.group,
            "desc_act": self.act_order,
            "static_groups": self.act_order_is_static,
            "sym": self.symmetric,
            "checkpoint_format": self.version,
            "damp_percent": 0.1,
            "true_sequential": True,
            "meta": {"quantizer": ["gptqmodel:2.2.0"]},
        }

    def pack(self, module: str, weight: Tensor) -> Packed:
        """The tensors of a linear, and what they mean."""
        inputs = weight.shape[1]
        group = inputs if self.group == -1 else self.group
        group_of = torch.arange(inputs) // group
        if self.act_order and not self.act_order_is_static:
            # Those that share their input are sorted alike, having met the same activations.
            seed = zlib.crc32(module.rpartition(".")[0].encode())
            group_of = group_of[torch.randperm(inputs, generator=torch.Generator().manual_seed(seed))]
        codes, scale, zero = rounded(weight, self.bits, group_of, self.symmetric)
        return self.tensors(codes, scale, zero, group_of), meant(codes, scale, zero, group_of)

    def tensors(self, codes: Tensor, scale: Tensor, zero: Tensor, group_of: Tensor) -> dict[str, Tensor]:
        """int64 codes `[N, K]`, scale and int64 zero `[N, groups]`, int64 groups `[K]`."""
        qzeros = words(zero, self.bits).t()  # along the outputs
        if self.version == "gptq":
            one_each = sum(1 << (self.bits * field) for field in range(32 // self.bits))
            qzeros = qzeros - torch.tensor(one_each, dtype=torch.int32)
        return {
            "qweight": words(codes.t(), self.bits),  # along the inputs
            "qzeros": qzeros,
            "scales": scale.t(),
            "g_idx": group_of.to(torch.int32),
        }


def meant(codes: Tensor, scale: Tensor, zero: Tensor, group_of: Tensor) -> Tensor:
    """float32 `[N, K]`."""
    return (codes - zero[:, group_of]).float() * scale.float()[:, group_of]
