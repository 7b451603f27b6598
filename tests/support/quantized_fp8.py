"""Checkpoints of eight-bit floats: transformers' tiles, AutoFP8's one scale a tensor, FBGEMM's one scale an output."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.compressed_tensors import quantize_fp8_per_row
from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize

from support.quantized import Packed

MAX = torch.finfo(torch.float8_e4m3fn).max


def tiles_config(rows: int, columns: int, **changes: Any) -> dict[str, Any]:
    """As transformers writes it."""
    fields = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [rows, columns]}
    return fields | {"modules_to_not_convert": None} | changes


def pack_tiles(rows: int, columns: int, scale_fmt: str = "float") -> Any:
    """By transformers' own operations, there and back."""
    config = SimpleNamespace(weight_block_size=[rows, columns], scale_fmt=scale_fmt)
    quantizer = SimpleNamespace(quantization_config=config)

    def pack(module: str, weight: Tensor) -> Packed:
        key = f"{module}.weight"
        found = Fp8Quantize(quantizer).convert({key: weight})
        packed = {name.removeprefix(f"{module}."): tensor for name, tensor in found.items()}
        given = {"weight": packed["weight"], "weight_scale_inv": packed["weight_scale_inv"]}
        dense = Fp8Dequantize(quantizer).convert(given, full_layer_name=key)[key]
        # Rounded to bfloat16 where the scales are no floats of their own.
        exact = packed["weight"].float() * grid(packed["weight_scale_inv"].float(), rows, columns, weight.shape)
        torch.testing.assert_close(dense.float(), exact, rtol=2**-8, atol=0)
        return packed, dense.float() if packed["weight_scale_inv"].dtype == torch.float32 else exact

    return pack


def grid(scale: Tensor, rows: int, columns: int, shape: torch.Size) -> Tensor:
    """A scale for each element."""
    return scale.repeat_interleave(rows, 0).repeat_interleave(columns, 1)[: shape[0], : shape[1]]


def pack_tensor(static: bool) -> Any:
    """AutoFP8's: `weight_scale`, and `input_scale` where it was measured."""

    def pack(module: str, weight: Tensor) -> Packed:
        scale = weight.abs().max() / MAX
        values = (weight / scale).clamp(-MAX, MAX).to(torch.float8_e4m3fn)
        packed = {"weight": values, "weight_scale": scale}
        if static:
            packed["input_scale"] = torch.tensor(0.05)
        return packed, values.float() * scale

    return pack


def pack_rows(module: str, weight: Tensor) -> Packed:
    """FBGEMM's, by transformers' own rounding."""
    values, scale = quantize_fp8_per_row(weight)
    return {"weight": values, "weight_scale": scale[:, None]}, values.float() * scale[:, None]
