"""Adapters of PEFT's methods other than LoRA, every trained parameter random, held against PEFT's own layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftConfig, get_peft_model
from torch import Tensor, nn

from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.loading import LoadedAdapter, read
from loraplex_kernels.lora import site_weights
from support.peft_files import Base, Written, make_base

PREFIX = "base_model.model."
CPU = torch.device("cpu")

# Linears that are not square, with more outputs than inputs and with fewer.
TARGETS = ["q_proj", "v_proj", "down_proj"]
COMMON: dict[str, Any] = {"task_type": "CAUSAL_LM", "target_modules": TARGETS}

LOW_RANK: dict[str, Callable[[], PeftConfig]] = {
    "adalora": lambda: peft.AdaLoraConfig(**COMMON, init_r=5, lora_alpha=7, total_step=10),
    "adalora-alpha-0": lambda: peft.AdaLoraConfig(**COMMON, init_r=5, lora_alpha=0, total_step=10),
    "vera": lambda: peft.VeraConfig(**COMMON, r=6, projection_prng_key=11),
    "vera-drawn": lambda: peft.VeraConfig(**COMMON, r=6, projection_prng_key=11, save_projection=False),
    "vera-wide": lambda: peft.VeraConfig(**COMMON, r=40),
    "pvera": lambda: peft.PveraConfig(**COMMON, r=6),
    "pvera-drawn": lambda: peft.PveraConfig(**COMMON, r=6, projection_prng_key=5, save_projection=False),
    "loha": lambda: peft.LoHaConfig(**COMMON, r=3, alpha=5),
    "loha-patterns": lambda: peft.LoHaConfig(
        **COMMON, r=3, rank_pattern={"v_proj": 2}, alpha_pattern={"down_proj": 20}
    ),
    "lokr": lambda: peft.LoKrConfig(**COMMON, r=2, alpha=5),
    "lokr-both": lambda: peft.LoKrConfig(**COMMON, r=1, decompose_both=True),
    "lokr-whole": lambda: peft.LoKrConfig(**COMMON, r=8, alpha=3),
    "lokr-factor": lambda: peft.LoKrConfig(**COMMON, r=2, decompose_factor=3),
    "lokr-patterns": lambda: peft.LoKrConfig(**COMMON, r=2, rank_pattern={"v_proj": 3}, alpha_pattern={"v_proj": 1}),
    "hra": lambda: peft.HRAConfig(**COMMON, r=4),
    "hra-odd": lambda: peft.HRAConfig(**COMMON, r=3, apply_GS=True),
    "vblora": lambda: peft.VBLoRAConfig(**COMMON, r=4, num_vectors=20, vector_length=8, topk=3),
    "miss": lambda: peft.MissConfig(**COMMON, r=4),
    "miss-padded": lambda: peft.MissConfig(**COMMON, r=5),
    "miss-mini": lambda: peft.MissConfig(**COMMON, r=6, init_weights="mini", mini_r=4),
    "miss-mini-wide": lambda: peft.MissConfig(**COMMON, r=6, init_weights="mini", mini_r=8),
    "miss-bat": lambda: peft.MissConfig(**COMMON, r=4, init_weights="bat"),
    "miss-random": lambda: peft.MissConfig(**COMMON, r=6, init_weights=False),
    "delora": lambda: peft.DeloraConfig(**COMMON, r=4, rank_pattern={"v_proj": 2}),
    "gralora": lambda: peft.GraloraConfig(**COMMON, r=4, gralora_k=2, alpha=5),
    "gralora-hybrid": lambda: peft.GraloraConfig(**COMMON, r=4, gralora_k=4, hybrid_r=3, alpha=5),
    "deft": lambda: peft.DeftConfig(**COMMON, r=4),
    "deft-para": lambda: peft.DeftConfig(**COMMON, r=4, para=True),
    "deft-qr": lambda: peft.DeftConfig(**COMMON, r=4, decomposition_method="qr", alpha=3),
}


@dataclass(frozen=True)
class Tuned(Written):
    """An adapter of any method, and the base as it is served."""

    base: Base

    def load(self, dtype: torch.dtype = torch.float32) -> LoadedAdapter:
        return read(self.source, dtype, CPU, self.base)

    def refusal(self) -> str:
        """All reasons why it is refused."""
        with pytest.raises(AdapterRefusedError) as refused:
            self.load()
        return "; ".join(refused.value.reasons)

    def layer(self, site: str) -> nn.Module:
        """PEFT's wrapper of a linear."""
        return self.peft.get_submodule(PREFIX + site)

    def sites(self, kind: type[nn.Module]) -> list[str]:
        """Linears that PEFT wrapped."""
        return [name.removeprefix(PREFIX) for name, module in self.peft.named_modules() if isinstance(module, kind)]

    def delta(self, site: str) -> Tensor:
        """What PEFT adds to a weight `[out, in]`, from its forward."""
        layer = self.layer(site)
        eye = torch.eye(layer.base_layer.in_features)
        with torch.no_grad():
            return (layer(eye) - layer.base_layer(eye)).T


Tune = Callable[..., Tuned]


def write_tuned(folder: Path, config: PeftConfig, family: str, served: Base, spread: float) -> Tuned:
    """All that is trained is random: PEFT starts much at zero or the identity, which would hide what is not read."""
    base = make_base(family)
    torch.manual_seed(1)
    model = get_peft_model(base.model, copy.deepcopy(config)).eval()  # PEFT fills in what the config leaves open
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=spread)
    model.save_pretrained(folder)
    return Tuned(model, folder, served)


def deltas(loaded: LoadedAdapter, base: Base) -> dict[str, Tensor]:
    """`scale * B A` of every site that the loaded adapter has, float64 `[out, in]`, by name."""
    found = {}
    for placement in loaded.layout.placements:
        weights = site_weights(loaded.buffer, placement, torch.float32)
        delta = weights.scale * weights.b.double().T @ weights.a.double()
        found[base.sites[placement.shape.site].name] = delta
    return found
