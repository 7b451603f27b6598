"""Real files: a small random base model written by transformers, adapters for it written by PEFT."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

VOCAB = 320

LLAMA = LlamaConfig(
    vocab_size=VOCAB,
    hidden_size=64,
    intermediate_size=112,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    tie_word_embeddings=False,
    initializer_range=0.3,  # logits far enough apart that greedy choices do not hang on rounding
)

# What the engine must keep apart in one batch: ranks, scales, patterns, targets and kinds that differ.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain-r4": {"r": 4, "target_modules": "all-linear"},
    "plain-r32": {"r": 32, "lora_alpha": 16, "target_modules": "all-linear"},
    "rslora": {"r": 9, "use_rslora": True, "target_modules": ["q_proj", "o_proj", "down_proj"]},
    "qv-only": {"r": 2, "target_modules": ["q_proj", "v_proj"]},
    "patterns": {
        "r": 8,
        "target_modules": ["q_proj", "k_proj", "gate_proj", "up_proj"],
        "rank_pattern": {"q_proj": 3, r"layers\.1\.mlp\.up_proj": 16},
        "alpha_pattern": {"k_proj": 20},
    },
    "dora": {"r": 6, "use_dora": True, "target_modules": "all-linear"},
    "regex": {"r": 5, "target_modules": r".*layers\.[02]\.(self_attn\.(q|k|v)_proj|mlp\.down_proj)"},
    "some-layers": {"r": 7, "target_modules": ["v_proj", "gate_proj"], "layers_to_transform": [1]},
    "head": {"r": 4, "target_modules": ["q_proj", "lm_head"]},
}


def prompt(length: int, seed: int) -> list[int]:
    """Tokens of such a model, the same ones for the same seed."""
    return random.Random(seed).choices(range(VOCAB), k=length)


def write_base(folder: Path, config: Any = LLAMA, seed: int = 0) -> Path:
    """Save a model with random weights in float32."""
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def load_base(folder: Path) -> PreTrainedModel:
    """The oracle's base: transformers' own implementation."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def write_adapter(base: Path, folder: Path, *, seed: int = 0, **options: Any) -> Path:
    """Save a LoRA adapter whose matrices are all random: PEFT's own start, B = 0, would change nothing."""
    torch.manual_seed(seed)
    model = get_peft_model(load_base(base), LoraConfig(task_type="CAUSAL_LM", **options))
    for name, parameter in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.15)
        elif "lora_magnitude" in name:
            parameter.data *= 1 + 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder, save_embedding_layers=False)  # "auto" adds a copy of the base's own head
    return folder


def write_adapters(base: Path, root: Path, variants: dict[str, dict[str, Any]] = VARIANTS) -> Path:
    """One adapter a variant, in folders of that name."""
    for seed, (name, options) in enumerate(variants.items()):
        write_adapter(base, root / name, seed=seed, **options)
    return root


def load_adapter(base: Path, folder: Path) -> PeftModel:
    """The oracle: PEFT's own reading of the files."""
    return PeftModel.from_pretrained(load_base(base), folder).eval()
