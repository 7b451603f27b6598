"""What PEFT has and Loraplex does not serve: every one is refused, by name, with a way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
from peft import LoraConfig, PeftConfig
from peft.tuners.lora import ArrowConfig
from peft.tuners.lora.config import BdLoraConfig, KasaConfig, MontecloraConfig, VeloraConfig
from safetensors.torch import save_file
from transformers import PreTrainedModel

from conformance.case import WHOLE, Case, Config, refused
from conformance.cases.lora import lora
from conformance.cases.methods import on_some
from conformance.edit import TENSORS, edited
from conformance.families import Family


def config_only(model: PreTrainedModel, config: PeftConfig, folder: Path) -> None:
    """For what needs more than this base to be written: it is the config that is refused."""
    folder.mkdir()
    config.save_pretrained(folder)
    save_file({"weight": torch.zeros(1)}, folder / TENSORS)


def _bare(kind: Callable[..., PeftConfig], **options: Any) -> Config:
    return lambda family: kind(task_type="CAUSAL_LM", **options)


def _method(name: str, config: Config, **options: Any) -> Case:
    return refused(name, WHOLE, config, "peft_type", name, **options)


WHOLE_METHODS = (
    # PEFT wants scikit-learn for it.
    _method("ADAMSS", lora(), edit=edited(peft_type="ADAMSS")),
    _method("ADAPTION_PROMPT", _bare(peft.AdaptionPromptConfig, adapter_len=4, adapter_layers=2)),
    _method("BOFT", on_some(peft.BOFTConfig, boft_block_size=4)),
    _method("C3A", on_some(peft.C3AConfig, block_size=8)),
    _method("FOURIERFT", on_some(peft.FourierFTConfig, n_frequency=20)),
    _method("FROD", on_some(peft.FrodConfig), write=config_only),
    _method("GLORA", on_some(peft.GloraConfig, r=2)),
    _method("HIRA", on_some(peft.HiraConfig, r=2)),
    _method("LILY", on_some(peft.LilyConfig, r=2), write=config_only),
    _method("OSF", on_some(peft.OSFConfig), write=config_only),
    _method("PEANUT", on_some(peft.PeanutConfig, r=2)),
    _method("POLY", on_some(peft.PolyConfig, r=2)),
    _method("PSOFT", on_some(peft.PsoftConfig, r=2), write=config_only),
    _method("RANDLORA", on_some(peft.RandLoraConfig, r=4)),
    _method("ROAD", on_some(peft.RoadConfig, group_size=8)),
    _method("SHADOW", on_some(peft.ShadowConfig), write=config_only),
    _method("SHIRA", on_some(peft.ShiraConfig, r=2)),
    _method("SUPERTUNING", on_some(peft.SupertuningConfig), write=config_only),
    _method("TINYLORA", on_some(peft.TinyLoraConfig, r=2, u=8)),
    _method("UNILORA", on_some(peft.UniLoraConfig, r=2, theta_d_length=32)),
    _method("WAVEFT", on_some(peft.WaveFTConfig, n_frequency=20), write=config_only),
    _method("XLORA", _bare(peft.XLoraConfig, hidden_size=48, adapters={"0": "./one"}), write=config_only),
    refused("BONE", WHOLE, lora(), "peft_type", "BONE", "MISS", edit=edited(peft_type="BONE")),
    refused("a newer PEFT's", WHOLE, lora(), "peft_type", "HYPERLORA", edit=edited(peft_type="HYPERLORA")),
)


def _stacked(family: Family) -> LoraConfig:
    return lora(layer_replication=[(0, 2), (1, 3)])(family)


def _bd(family: Family) -> LoraConfig:
    return lora(
        use_bdlora=BdLoraConfig(
            target_modules_bd_a=["o_proj", "down_proj"], target_modules_bd_b=["q_proj", "v_proj", "up_proj"], nblocks=2
        )
    )(family)


def _key(key: str, config: Config | None = None, **options: Any) -> Case:
    return refused("LORA", options.pop("title", key), config or lora(), key, **options)


KEYS_OF_LORA = (
    _key("use_qalora", lora(use_qalora=True, qalora_group_size=16), write=config_only),
    _key("target_parameters", lora(target_parameters=["q_proj.weight"], target_modules=["v_proj"])),
    _key("layer_replication", _stacked),
    _key("megatron_config", lora(megatron_config={"hidden_size": 48}), write=config_only),
    _key("arrow_config", lora(arrow_config=ArrowConfig()), write=config_only),
    _key("use_bdlora", _bd),
    _key("kasa_config", lora(kasa_config=KasaConfig()), write=config_only),
    _key("monteclora_config", lora(monteclora_config=MontecloraConfig()), write=config_only),
    _key("velora_config", lora(velora_config=VeloraConfig(num_groups=4)), write=config_only),
    _key("target_modules", edit=edited(target_modules=None), title="no target_modules"),
    _key("quantum_rank", edit=edited(quantum_rank=3), title="a key of a newer PEFT"),
)

CASES: tuple[Case, ...] = (*WHOLE_METHODS, *KEYS_OF_LORA)
