"""PEFT's other methods that come down to a low-rank update of each linear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import (
    AdaLoraConfig,
    DeftConfig,
    DeloraConfig,
    GraloraConfig,
    HRAConfig,
    LoHaConfig,
    LoKrConfig,
    MissConfig,
    PeftConfig,
    PveraConfig,
    VBLoRAConfig,
    VeraConfig,
    get_peft_model,
)
from transformers import PreTrainedModel

from conformance.case import Case, Config, served
from conformance.families import Family
from conformance.write import scatter

TWO = ("llama", "qwen2")
THREE = ("llama", "phi3", "gemma3")


def on_some(kind: Callable[..., PeftConfig], **options: Any) -> Config:
    """A config of this kind on linears of several widths, unless the options say otherwise."""

    def config(family: Family) -> PeftConfig:
        return kind(**({"target_modules": family.some, "task_type": "CAUSAL_LM"} | options))

    return config


def write_pruned(model: PreTrainedModel, config: PeftConfig, folder: Path) -> None:
    """AdaLoRA as it is trained: steps that score the ranks, and a last one that takes the least ones away."""
    peft = get_peft_model(model, config)
    scatter(peft)
    optimizer = torch.optim.SGD([p for p in peft.parameters() if p.requires_grad], lr=0.01)
    text = torch.randint(3, 150, (2, 12))
    for step in range(8):
        peft(text, labels=text).loss.backward()
        optimizer.step()
        peft.base_model.update_and_allocate(step)
        optimizer.zero_grad()
    peft.save_pretrained(folder)


def _ada(**options: Any) -> Config:
    return on_some(AdaLoraConfig, **({"init_r": 6, "target_r": 3, "total_step": 8, "lora_alpha": 12} | options))


def _vb(**options: Any) -> Config:
    return on_some(VBLoRAConfig, r=3, num_vectors=7, vector_length=8, **options)


ADALORA = (
    served("ADALORA", "before its ranks are pruned", _ada(), families=THREE),
    served(
        "ADALORA", "pruned by its own training", _ada(tinit=1, tfinal=2), families=("llama", "phi3"), write=write_pruned
    ),
    served("ADALORA", "bias='all'", _ada(bias="all"), "low rank, terms", families=("qwen2",)),
    served("ADALORA", "modules_to_save=['lm_head']", _ada(modules_to_save=["lm_head"]), "low rank, terms"),
)
VERA = (
    served("VERA", "save_projection", on_some(VeraConfig, r=5), families=THREE),
    served(
        "VERA",
        "save_projection=False",
        on_some(VeraConfig, r=5, save_projection=False, projection_prng_key=7),
        families=("llama", "gemma3"),
    ),
    served(
        "VERA", "bias='vera_only'", on_some(VeraConfig, r=5, bias="vera_only"), "low rank, terms", families=("qwen2",)
    ),
    served("VERA", "layers_to_transform", on_some(VeraConfig, r=5, layers_to_transform=[0, 2])),
    served("PVERA", "its mean", on_some(PveraConfig, r=5), families=TWO),
)
LOHA = (
    served(
        "LOHA",
        "target_modules with lm_head",
        on_some(LoHaConfig, r=2, target_modules=["q_proj", "lm_head"]),
        families=TWO,
    ),
    served("LOHA", "r, alpha", on_some(LoHaConfig, r=3, alpha=5), families=THREE),
    served(
        "LOHA",
        "exclude_modules, layers_to_transform",
        on_some(LoHaConfig, r=2, exclude_modules=["down_proj"], layers_to_transform=[1]),
    ),
    served(
        "LOHA",
        "rank_pattern, alpha_pattern",
        on_some(LoHaConfig, r=2, rank_pattern={"down_proj": 3}, alpha_pattern={"q_proj": 1}),
    ),
    served(
        "LOHA",
        "modules_to_save=['lm_head']",
        on_some(LoHaConfig, r=2, modules_to_save=["lm_head"]),
        "low rank, terms",
        families=TWO,
    ),
)
LOKR = (
    served("LOKR", "w1 whole, w2 in two factors", on_some(LoKrConfig, r=2, alpha=3), families=THREE),
    served("LOKR", "w1 and w2 whole", on_some(LoKrConfig, r=64, alpha=3), families=TWO),
    served("LOKR", "decompose_both", on_some(LoKrConfig, r=2, decompose_both=True), families=TWO),
    served("LOKR", "decompose_factor=4", on_some(LoKrConfig, r=2, decompose_factor=4), families=TWO),
    served(
        "LOKR",
        "decompose_factor=8 with decompose_both",
        on_some(LoKrConfig, r=1, decompose_factor=8, decompose_both=True),
    ),
    served(
        "LOKR",
        "rank_pattern, alpha_pattern",
        on_some(LoKrConfig, r=2, rank_pattern={"down_proj": 3}, alpha_pattern={"q_proj": 1}),
    ),
)
OTHERS = (
    served("HRA", "r", on_some(HRAConfig, r=4), families=THREE),
    served("HRA", "an odd r", on_some(HRAConfig, r=3)),
    served("HRA", "apply_GS", on_some(HRAConfig, r=4, apply_GS=True), families=TWO),
    served(
        "HRA",
        "modules_to_save=['embed_tokens', 'norm']",
        on_some(HRAConfig, r=4, modules_to_save=["embed_tokens", "norm"]),
        "low rank, terms",
        families=TWO,
    ),
    served("HRA", "bias='hra_only'", on_some(HRAConfig, r=4, bias="hra_only"), "low rank, terms", families=("qwen2",)),
    served("VBLORA", "all logits saved", _vb(), families=THREE),
    served("VBLORA", "save_only_topk_weights", _vb(save_only_topk_weights=True), families=TWO),
    served("VBLORA", "topk=3", _vb(topk=3)),
    served("MISS", "r", on_some(MissConfig, r=4), families=THREE),
    served("MISS", "an r that does not divide the input", on_some(MissConfig, r=7)),
    served("MISS", "init_weights='bat'", on_some(MissConfig, r=4, init_weights="bat"), families=TWO),
    served("MISS", "init_weights='mini'", on_some(MissConfig, r=4, init_weights="mini", mini_r=4), families=TWO),
    served("DELORA", "bias='all'", on_some(DeloraConfig, r=3, bias="all"), "low rank, terms", families=("qwen2",)),
    served("DELORA", "r, delora_lambda", on_some(DeloraConfig, r=3, delora_lambda=8), families=THREE),
    served(
        "DELORA",
        "rank_pattern, lambda_pattern",
        on_some(DeloraConfig, r=3, rank_pattern={"down_proj": 5}, lambda_pattern={"q_proj": 4}),
    ),
    served("GRALORA", "gralora_k=2", on_some(GraloraConfig, r=4, alpha=6), families=THREE),
    served("GRALORA", "gralora_k=4, hybrid_r=2", on_some(GraloraConfig, r=8, gralora_k=4, hybrid_r=2), families=TWO),
    served("DEFT", "decomposition_method='relu'", on_some(DeftConfig, r=3), families=TWO),
    served("DEFT", "decomposition_method='qr'", on_some(DeftConfig, r=3, decomposition_method="qr", alpha=5)),
    served("DEFT", "para", on_some(DeftConfig, r=3, para=True, decomposition_method="qr")),
)

CASES: tuple[Case, ...] = (*ADALORA, *VERA, *LOHA, *LOKR, *OTHERS)
