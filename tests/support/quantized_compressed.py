"""compressed-tensors checkpoints, written by the library itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationConfig,
    QuantizationStatus,
    apply_quantization_config,
)
from compressed_tensors.quantization.utils import calculate_qparams
from torch import Tensor, nn
from transformers import AutoModelForCausalLM


def write_compressed(base: Path, folder: Path, groups: dict[str, Any], ignore: tuple[str, ...] = ("lm_head",)) -> Path:
    """Quantize `base` by minima and maxima and save it as llm-compressor does.

    Returns:
        A folder with what the library makes of its own weights, in floating point.
    """
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    apply_quantization_config(model, QuantizationConfig(config_groups=groups, ignore=list(ignore)), show_progress=False)
    for module in model.modules():
        scheme = getattr(module, "quantization_scheme", None)
        if scheme is not None:
            _calibrate(module, scheme)
            module.quantization_status = QuantizationStatus.FROZEN
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(folder)
    compressor.decompress_model(model)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    plain.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if name in plain.state_dict()})
    plain.save_pretrained(folder / "meant")
    return folder / "meant"


@torch.no_grad()
def _calibrate(module: nn.Module, scheme: Any) -> None:
    """Fill in the scales, and where there are some the zero points."""
    args, weight = scheme.weights, module.weight
    low, high = _ranges(weight, args)
    scale, zero = calculate_qparams(low, high, args)
    module.weight_scale.copy_(scale.reshape(module.weight_scale.shape))
    if hasattr(module, "weight_zero_point"):
        module.weight_zero_point.copy_(zero.reshape(module.weight_zero_point.shape))
    if hasattr(module, "input_scale"):
        module.input_scale.fill_(0.05)


def _ranges(weight: Tensor, args: Any) -> tuple[Tensor, Tensor]:
    outputs, inputs = weight.shape
    rows, columns = {
        "tensor": (outputs, inputs),
        "channel": (1, inputs),
        "group": (1, args.group_size),
        "block": args.block_structure,
    }[args.strategy]
    tiles = weight.reshape(outputs // rows, rows, inputs // columns, columns)
    return tiles.amin((1, 3)), tiles.amax((1, 3))
