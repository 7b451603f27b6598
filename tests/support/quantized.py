"""Real checkpoints in quantized formats: a small base of tests, packed, and beside it the weights that it then has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

# The tensors that stand for a weight, by what follows the module's name; and the weight that they mean, float32.
Packed = tuple[Mapping[str, Tensor], Tensor]
Pack = Callable[[str, Tensor], Packed]


def write_quantized(base: Path, folder: Path, quantization_config: Mapping[str, Any], pack: Pack) -> Path:
    """Save `base` with the weights of its layers' linears packed.

    Args:
        base: a checkpoint in floating point.
        folder: where the quantized one goes; `folder / "meant"` gets a floating-point one with the weights it means.
        quantization_config: for its config.json.
        pack: from a module's name and weight `[N, K]`.

    Returns:
        The folder of meant weights.
    """
    tensors = load_file(base / "model.safetensors")
    quantized, meant = dict(tensors), dict(tensors)
    for name, weight in tensors.items():
        module, _, last = name.rpartition(".")
        if last == "weight" and module.endswith("_proj"):
            packed, meant[name] = pack(module, weight)
            del quantized[name]
            quantized |= {f"{module}.{suffix}": tensor.contiguous() for suffix, tensor in packed.items()}
    config = json.loads((base / "config.json").read_text())
    _write(folder / "meant", config, meant)
    _write(folder, config | {"quantization_config": dict(quantization_config)}, quantized)
    return folder / "meant"


def _write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def edit(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Change the tensors of a checkpoint."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")


def edit_config(folder: Path, **changes: Any) -> None:
    """Change fields of a checkpoint's quantization_config; those that become None are dropped."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    fields = config["quantization_config"] | changes
    config["quantization_config"] = {name: value for name, value in fields.items() if value is not None}
    path.write_text(json.dumps(config))


def rounded(weight: Tensor, bits: int, group_of: Tensor, symmetric: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Round to integers from 0, each group by its own scale and zero point, by the definition.

    Args:
        weight: `[N, K]`.
        bits: of an integer.
        group_of: int64 `[K]`, each input's group.
        symmetric: the zero point is in the middle.

    Returns:
        int64 `[N, K]`, float16 scale `[N, groups]` and int64 zero point `[N, groups]`.
    """
    top = (1 << bits) - 1
    groups = int(group_of.max()) + 1
    scale = torch.empty(weight.shape[0], groups, dtype=torch.float16)
    zero = torch.empty(weight.shape[0], groups, dtype=torch.int64)
    for group in range(groups):
        part = weight[:, group_of == group].float()
        if symmetric:
            scale[:, group] = 2 * part.abs().amax(1) / top
            zero[:, group] = (top + 1) // 2
        else:  # a range that holds 0, so that the zero point fits
            low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
            scale[:, group] = (high - low) / top
            zero[:, group] = (-low / scale[:, group].float()).round().long().clamp(0, top)
    wide = scale.float()[:, group_of]
    codes = ((weight.float() / wide).round().long() + zero[:, group_of]).clamp(0, top)
    return codes, scale, zero
