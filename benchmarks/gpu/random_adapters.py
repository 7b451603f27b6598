"""LoRA adapters on all linears, as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from loraplex_adapters.source import AdapterSource
from loraplex_server.models.blueprint import blueprint
from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.names import HEAD


def write_adapters(
    folder: Path, config: DecoderConfig, ranks: Sequence[int], device: torch.device, dtype: torch.dtype
) -> list[AdapterSource]:
    """One adapter for each of `ranks`, in PEFT's layout; A uniform as PEFT initialises it, B small and not zero.

    Args:
        folder: that they are written to.
        config: of the base.
        ranks: of the adapters, the same at each linear.
        device: where the numbers are drawn.
        dtype: of the files.
    """
    sites = [site for site in blueprint(config).sites() if site.name != HEAD]
    generator = torch.Generator(device).manual_seed(0)
    sources = []
    for number, rank in enumerate(ranks):
        path = folder / f"adapter-{number:03}"
        path.mkdir(parents=True)
        tensors = {}
        for site in sites:
            name = f"base_model.model.{site.name}"
            a = torch.empty(rank, site.in_features, device=device)
            b = torch.empty(site.out_features, rank, device=device)
            a.uniform_(-(site.in_features**-0.5), site.in_features**-0.5, generator=generator)
            b.normal_(0, 0.02, generator=generator)
            tensors[f"{name}.lora_A.weight"] = a.to(dtype).cpu()
            tensors[f"{name}.lora_B.weight"] = b.to(dtype).cpu()
        save_file(tensors, path / "adapter_model.safetensors", metadata={"format": "pt"})
        targets = sorted({site.name.rpartition(".")[2] for site in sites})
        settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank}
        (path / "adapter_config.json").write_text(json.dumps({**settings, "target_modules": targets}), encoding="utf-8")
        sources.append(AdapterSource(path.name, str(path), "written once"))
    return sources
