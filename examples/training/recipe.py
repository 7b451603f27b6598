"""A recipe: how one adapter is shaped and trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peft import LoraConfig

BASE_ID = "loraplex-demo-base"
_LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Recipe:
    """Args: task: the adapter's and its task's name. variant: what is special about it, for people.
    lora: arguments of PEFT's LoraConfig. dtype: of the file. steps: of training.
    """

    task: str
    variant: str
    lora: dict[str, Any]
    dtype: str = "bfloat16"
    steps: int = 160

    def config(self) -> LoraConfig:
        return LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **self.lora)


# Together they hold every shape of LoRA that the server accepts, so that the demo shows, and its tests hold, each one.
RECIPES: tuple[Recipe, ...] = (
    Recipe("reverse", "all linears", {"r": 8, "lora_alpha": 16, "target_modules": _LINEARS}),
    Recipe("upper", "all-linear, lowest rank", {"r": 2, "lora_alpha": 8, "target_modules": "all-linear"}, steps=300),
    Recipe("sort", "rsLoRA", {"r": 16, "lora_alpha": 8, "use_rslora": True, "target_modules": "all-linear"}),
    Recipe(
        "vowels",
        "regex over module paths",
        {"r": 8, "lora_alpha": 16, "target_modules": r".*\.layers\.[0-3]\.(self_attn\.[qkvo]|mlp\.(gate|up))_proj"},
    ),
    Recipe(
        "shift",
        "layers 1 to 3 only, float32 file",
        {"r": 4, "lora_alpha": 8, "target_modules": _LINEARS, "layers_to_transform": [1, 2, 3]},
        dtype="float32",
        steps=300,
    ),
    Recipe("add", "highest rank", {"r": 32, "lora_alpha": 32, "target_modules": "all-linear"}, steps=300),
    Recipe(
        "words",
        "rank_pattern and alpha_pattern",
        {
            "r": 8,
            "lora_alpha": 16,
            "target_modules": _LINEARS,
            "rank_pattern": {"down_proj": 24, r"layers\.0\.self_attn\.q_proj": 4},
            "alpha_pattern": {"down_proj": 32, r"layers\.0\.self_attn\.q_proj": 16},
        },
    ),
    Recipe(
        "initials",
        "the MLP only, float16 file",
        {"r": 6, "lora_alpha": 12, "target_modules": ["gate_proj", "up_proj", "down_proj"]},
        dtype="float16",
    ),
    Recipe("json", "DoRA", {"r": 8, "lora_alpha": 16, "use_dora": True, "target_modules": _LINEARS}),
    Recipe("sentiment", "q and v only", {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}),
)
