"""LoRA on the linears of the decoder layers: what decides which of them, how strongly, and with which rank."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig

from conformance.case import Case, served
from conformance.families import Family

ALL = ("llama", "qwen2", "qwen3", "mistral", "phi3", "gemma2", "gemma3")


def lora(**options: Any):
    """A config of rank 4 on linears of several widths, unless the options say otherwise."""

    def config(family: Family) -> LoraConfig:
        defaults = {"r": 4, "lora_alpha": 6, "target_modules": family.some, "task_type": "CAUSAL_LM"}
        return LoraConfig(**(defaults | options))

    return config


def _patterns(family: Family) -> LoraConfig:
    return lora(
        rank_pattern={family.down: 3, rf"layers\.1\.self_attn\.{family.attention[0]}": 9},
        alpha_pattern={family.output: 20, rf"^model\.layers\.2\.mlp\.{family.down}": 1},
    )(family)


def _excluded_list(family: Family) -> LoraConfig:
    return lora(target_modules="all-linear", exclude_modules=[family.down, "model.layers.1.self_attn.o_proj"])(family)


def _regex(family: Family) -> LoraConfig:
    return lora(target_modules=rf".*layers\.[02]\.(self_attn\.{family.attention[0]}|mlp\.{family.down})")(family)


def _half_layers(family: Family) -> LoraConfig:
    return lora(target_modules=[family.attention[0], family.down], layers_to_transform=1)(family)


CASES: tuple[Case, ...] = (
    served("LORA", "target_modules: a list; r, lora_alpha", lora(), families=ALL),
    served("LORA", "target_modules='all-linear'", lora(target_modules="all-linear", r=9), families=ALL),
    served("LORA", "target_modules: a regex", _regex, families=("llama", "phi3")),
    served(
        "LORA",
        "target_modules: names in full",
        lora(
            target_modules=["model.layers.0.self_attn.q_proj", "model.layers.2.mlp.down_proj", "layers.1.mlp.up_proj"]
        ),
    ),
    served("LORA", "a rank of 1", lora(r=1)),
    served("LORA", "a rank above the layers' width", lora(r=65, lora_alpha=8)),
    served("LORA", "rank_pattern, alpha_pattern", _patterns, families=("llama", "phi3", "gemma3")),
    served("LORA", "use_rslora", lora(use_rslora=True, r=9), families=("llama", "qwen2")),
    served(
        "LORA",
        "use_rslora with rank_pattern and alpha_pattern",
        lambda family: lora(use_rslora=True, rank_pattern={family.down: 9}, alpha_pattern={family.down: 3})(family),
    ),
    served("LORA", "use_dora", lora(use_dora=True), families=ALL),
    served("LORA", "use_dora with use_rslora", lora(use_dora=True, use_rslora=True), families=("phi3",)),
    served("LORA", "use_dora on an int8 base", lora(use_dora=True), families=("llama-int8",)),
    served("LORA", "exclude_modules: a list", _excluded_list),
    served(
        "LORA",
        "exclude_modules: a regex",
        lora(target_modules="all-linear", exclude_modules=r".*layers\.0\..*"),
        families=("qwen2",),
    ),
    served("LORA", "layers_to_transform: a number", _half_layers, families=("llama", "phi3")),
    served(
        "LORA",
        "layers_to_transform with layers_pattern",
        lora(target_modules=["o_proj", "down_proj"], layers_to_transform=[0, 2], layers_pattern="layers"),
        families=("gemma2",),
    ),
    served("LORA", "fan_in_fan_out (PEFT turns it off on these linears)", lora(fan_in_fan_out=True)),
    served("LORA", "lora_dropout (training only)", lora(lora_dropout=0.3)),
    served("LORA", "negative lora_alpha", lora(lora_alpha=-5)),
    served("LORA", "no task_type", lora(task_type=None)),
)
