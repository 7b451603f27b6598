"""How PEFT names the tensors of a LoRA adapter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Part = Literal["lora_A", "lora_B", "lora_magnitude_vector", "base_layer"]

PREFIX = "base_model.model."
EMBEDDING = "embed_tokens"  # in every model that is served

# save_pretrained takes the adapter's name out; tools that save the state dict by themselves leave it in, and PEFT
# reads it back when it is 'default'. DoRA's magnitude is saved without `.weight`, and read with or without.
# Source: PEFT's LoraModel._remap_adapter_state_dict_for_load and BaseTuner._remap_adapter_state_dict_for_load.
_NAME = re.compile(
    r"base_model\.model\.(?P<site>.+)\."
    r"(?:(?P<matrix>lora_[AB])(?:\.default)?\.weight"
    r"|(?P<magnitude>lora_magnitude_vector)(?:\.default)?(?:\.weight)?"
    r"|(?P<base>base_layer)\.weight)"
)


@dataclass(frozen=True)
class TensorName:
    """What a name stands for."""

    site: str
    part: Part


def parse_name(name: str) -> TensorName | None:
    """None where it is not the name of a LoRA weight of a linear."""
    match = _NAME.fullmatch(name)
    if match is None or match["site"].endswith(EMBEDDING):
        return None
    part = match["matrix"] or match["magnitude"] or match["base"]
    return TensorName(match["site"], part)  # type: ignore[arg-type]


def why_unbound(name: str) -> str:
    """What a tensor that is not a LoRA weight of a linear most likely is, and what to do about it."""
    if not name.startswith(PREFIX):
        return f"not named as PEFT names them, '{PREFIX}...'"
    if ".lora_embedding_" in name or f".{EMBEDDING}." in name:
        return "on the input embedding, where adapters are not served (PEFT also saves it, unchanged, after a resize)"
    if name.endswith(".bias"):
        return "biases, which are not served"
    if ".lora_" in name:
        return "not of plain LoRA or DoRA on a linear"
    return "whole weights of the base; where they are unchanged, save with save_embedding_layers=False"
