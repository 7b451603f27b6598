"""One configuration for each way in which a method can reduce to low rank, on linears that are not square."""

from __future__ import annotations

from typing import Any

import peft
from peft import PeftConfig

TARGETS = ["q_proj", "v_proj", "down_proj"]
COMMON: dict[str, Any] = {"task_type": "CAUSAL_LM", "target_modules": TARGETS}

LOW_RANK: dict[str, PeftConfig] = {
    "adalora": peft.AdaLoraConfig(**COMMON, init_r=5, lora_alpha=7, total_step=10),
    "adalora-alpha-0": peft.AdaLoraConfig(**COMMON, init_r=5, lora_alpha=0, total_step=10),
    "vera": peft.VeraConfig(**COMMON, r=6, projection_prng_key=11),
    "vera-drawn": peft.VeraConfig(**COMMON, r=6, projection_prng_key=11, save_projection=False),
    "vera-wide": peft.VeraConfig(**COMMON, r=40),
    "pvera": peft.PveraConfig(**COMMON, r=6),
    "pvera-drawn": peft.PveraConfig(**COMMON, r=6, projection_prng_key=5, save_projection=False),
    "loha": peft.LoHaConfig(**COMMON, r=3, alpha=5),
    "loha-patterns": peft.LoHaConfig(**COMMON, r=3, rank_pattern={"v_proj": 2}, alpha_pattern={"down_proj": 20}),
    "lokr": peft.LoKrConfig(**COMMON, r=2, alpha=5),
    "lokr-both": peft.LoKrConfig(**COMMON, r=1, decompose_both=True),
    "lokr-whole": peft.LoKrConfig(**COMMON, r=8, alpha=3),
    "lokr-factor": peft.LoKrConfig(**COMMON, r=2, decompose_factor=3),
    "lokr-patterns": peft.LoKrConfig(**COMMON, r=2, rank_pattern={"v_proj": 3}, alpha_pattern={"v_proj": 1}),
    "hra": peft.HRAConfig(**COMMON, r=4),
    "hra-odd": peft.HRAConfig(**COMMON, r=3, apply_GS=True),
    "vblora": peft.VBLoRAConfig(**COMMON, r=4, num_vectors=20, vector_length=8, topk=3),
    "miss": peft.MissConfig(**COMMON, r=4),
    "miss-padded": peft.MissConfig(**COMMON, r=5),
    "miss-mini": peft.MissConfig(**COMMON, r=6, init_weights="mini", mini_r=4),
    "miss-mini-wide": peft.MissConfig(**COMMON, r=6, init_weights="mini", mini_r=8),
    "miss-random": peft.MissConfig(**COMMON, r=6, init_weights=False),
    "delora": peft.DeloraConfig(**COMMON, r=4, rank_pattern={"v_proj": 2}),
    "gralora": peft.GraloraConfig(**COMMON, r=4, gralora_k=2, alpha=5),
    "gralora-hybrid": peft.GraloraConfig(**COMMON, r=4, gralora_k=4, hybrid_r=3, alpha=5),
    "deft": peft.DeftConfig(**COMMON, r=4),
    "deft-para": peft.DeftConfig(**COMMON, r=4, para=True),
    "deft-qr": peft.DeftConfig(**COMMON, r=4, decomposition_method="qr", alpha=3),
}
