"""How PEFT names the tensors of a LoRA adapter."""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "base_model.model."
EMBEDDING = "embed_tokens"  # in every model that is served

# What may follow a module's name. save_pretrained takes the adapter's name out; tools that save the state dict by
# themselves leave it in, and PEFT reads it back when it is 'default'. DoRA's magnitude is saved without `.weight`, and
# read with or without. Source: PEFT's LoraModel._remap_adapter_state_dict_for_load and
# BaseTuner._remap_adapter_state_dict_for_load, and the adapter_state_dict of its wrappers (utils/other.py).
_PARTS = {
    "lora_A": r"lora_A(?:\.default)?\.weight",
    "lora_B": r"lora_B(?:\.default)?\.weight",
    "lora_B.bias": r"lora_B(?:\.default)?\.bias",
    "lora_magnitude_vector": r"lora_magnitude_vector(?:\.default)?(?:\.weight)?",
    "lora_embedding_A": r"lora_embedding_A(?:\.default)?",
    "lora_embedding_B": r"lora_embedding_B(?:\.default)?",
    "trainable_tokens_delta": r"token_adapter\.trainable_tokens_delta(?:\.default)?",
    "token_adapter.base_layer.weight": r"token_adapter\.base_layer\.weight",
    "base_layer.weight": r"base_layer\.weight",
    "base_layer.bias": r"base_layer\.bias",
    "original_module.weight": r"original_module\.weight",
    "original_module.bias": r"original_module\.bias",
    "modules_to_save.weight": r"modules_to_save(?:\.default)?\.weight",
    "modules_to_save.bias": r"modules_to_save(?:\.default)?\.bias",
    "weight": "weight",
    "bias": "bias",
}
# The first that fits: the names of modules may not end in any of the longer ones.
_NAMES = {part: re.compile(rf"base_model\.model\.(?P<module>.+?)\.{pattern}") for part, pattern in _PARTS.items()}


@dataclass(frozen=True)
class TensorName:
    """What a name stands for: a module of the base, and a part that PEFT has for it."""

    module: str
    part: str


def parse_name(name: str) -> TensorName | None:
    """None where it is not a name that PEFT gives to a LoRA adapter's tensors."""
    for part, pattern in _NAMES.items():
        match = pattern.fullmatch(name)
        if match is not None:
            return TensorName(match["module"], part)
    return None


def why_unnamed(name: str) -> str:
    """What a tensor that has no such name most likely is."""
    if not name.startswith(PREFIX):
        return f"not named as PEFT names them, '{PREFIX}...'"
    return "no part of LoRA, of a module that was saved whole or of trained tokens"
