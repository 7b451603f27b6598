"""A checkpoint's weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from synthetic.values import normal

STD = 0.02
# One shard is in memory at a time: an 8B model is written in about a gigabyte.
SHARD_BYTES = 1 << 30
INDEX = "model.safetensors.index.json"


def write_weights(folder: Path, shapes: Mapping[str, torch.Size], seed: int, shard_bytes: int = SHARD_BYTES) -> int:
    """Write `shapes` as bfloat16 safetensors, in one file or in shards with their index.

    Returns:
        The tensors' bytes.
    """
    shards = _shards(shapes, shard_bytes)
    names = [
        "model.safetensors" if len(shards) == 1 else f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        for number in range(len(shards))
    ]
    for name, shard in zip(names, shards, strict=True):
        tensors = {tensor: _random(tensor, shapes[tensor], seed) for tensor in shard}
        save_file(tensors, folder / name, metadata={"format": "pt"})
    total = sum(_nbytes(shape) for shape in shapes.values())
    if len(shards) > 1:
        where = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return total


def _shards(shapes: Mapping[str, torch.Size], shard_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        if shards[-1] and filled + _nbytes(shape) > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += _nbytes(shape)
    return shards


def _nbytes(shape: torch.Size) -> int:
    return 2 * math.prod(shape)


def _random(name: str, shape: torch.Size, seed: int) -> Tensor:
    if name.endswith("norm.weight"):
        return torch.ones(shape, dtype=torch.bfloat16)
    return normal(shape, STD, seed, name)
