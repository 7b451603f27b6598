"""PEFT LoRA adapters for a model of a known shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, TaskType
from safetensors.torch import save_file
from torch import Tensor

from synthetic.blueprint import TARGETS, Blueprint
from synthetic.values import normal, uniform

B_STD = 0.02


def make_adapters(
    folder: Path,
    blueprint: Blueprint,
    base: str,
    count: int,
    ranks: Sequence[int],
    seed: int,
    dtype: torch.dtype = torch.bfloat16,
) -> list[Path]:
    """Write `count` adapters on all seven linears, in sub-folders `adapter-000` and on.

    The config is PEFT's own; the tensors are written by themselves under PEFT's names, because making a PEFT model of
    the base for each would take its memory and most of a second. A is as PEFT initialises it (uniform within
    `1/sqrt(in)`), B from N(0, 0.02) and not zero as before training; alpha is twice the rank.

    Args:
        folder: made where it is missing.
        blueprint: of the base model.
        base: written into the config as `base_model_name_or_path`.
        count: of adapters.
        ranks: adapter k has the rank `ranks[k % len(ranks)]`.
        seed: of the tensors.
        dtype: of the tensors.

    Returns:
        The sub-folders.
    """
    made = []
    for number in range(count):
        path = folder / f"adapter-{number:03}"
        rank = ranks[number % len(ranks)]
        LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            base_model_name_or_path=base,
            r=rank,
            lora_alpha=2 * rank,
            lora_dropout=0.0,
            target_modules=list(TARGETS),
            inference_mode=True,
        ).save_pretrained(path)
        tensors = _tensors(blueprint, rank, seed, path.name)
        cast = {name: tensor.to(dtype) for name, tensor in tensors.items()}
        save_file(cast, path / "adapter_model.safetensors", metadata={"format": "pt"})
        made.append(path)
    return made


def _tensors(blueprint: Blueprint, rank: int, seed: int, adapter: str) -> dict[str, Tensor]:
    tensors = {}
    for module, (inputs, outputs) in blueprint.linears.items():
        name = f"base_model.model.{module}"
        # The adapter's name makes each one's values its own.
        a, b = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        tensors[a] = uniform((rank, inputs), 1 / math.sqrt(inputs), seed, adapter + a)
        tensors[b] = normal((outputs, rank), B_STD, seed, adapter + b)
    return tensors
