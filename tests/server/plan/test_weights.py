"""What a plan says of a model is what the model comes to when it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.servers import DEMO
from support.tiny import tiny
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from loraplex_adapters.fingerprint import fingerprint
from loraplex_adapters.package import inspect
from loraplex_adapters.source import AdapterSource
from loraplex_server.models.load import load_model
from loraplex_server.plan.adapter import adapter_of_folder, lora_adapter
from loraplex_server.plan.asked import Asked
from loraplex_server.plan.error import PlanError
from loraplex_server.plan.model import read_model
from loraplex_server.plan.weights import weight_parts

CPU = torch.device("cpu")
SIZES = tiny(200, layers=2, spread=0.02) | {"hidden_size": 64, "intermediate_size": 192}
FAMILIES = [
    LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True, tie_word_embeddings=False),
    Qwen2Config(**SIZES, tie_word_embeddings=True),
    Qwen3Config(**SIZES, head_dim=24),
    Gemma3TextConfig(**SIZES, head_dim=16),
    Phi3Config(**SIZES),
]


def write(config: PreTrainedConfig, folder: Path) -> str:
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: config.model_type)
@pytest.mark.parametrize("quantization", ["none", "int8", "int4", "int8-weight"])
def test_the_bytes_of_every_family_are_known_before_it_is_loaded(
    config: PreTrainedConfig, quantization: str, tmp_path: Path
) -> None:
    folder = write(config, tmp_path)
    asked = Asked(dtype="bfloat16", quantization=quantization)  # type: ignore[arg-type]
    planned = sum(part.nbytes for part in weight_parts(read_model(folder, None), asked, "cpu"))
    loaded = load_model(folder, device=CPU, dtype=torch.bfloat16, quantization=quantization)
    assert planned == loaded.weights_nbytes


@pytest.mark.parametrize("name", ["reverse", "words", "json"])  # a LoRA, one of several ranks, a DoRA
@pytest.mark.parametrize("int8", [False, True])
def test_an_adapter_that_is_there_takes_what_the_loader_says(name: str, int8: bool) -> None:
    model, folder = read_model(str(DEMO / "base"), None), DEMO / "adapters" / name
    asked = Asked(dtype="bfloat16", adapter_dtype="int8" if int8 else "auto")
    base = model.blueprint.shape(model.config, tied=model.config.tie_embeddings)
    source = AdapterSource(name=name, path=str(folder), fingerprint=fingerprint(str(folder)))
    package = inspect(source, base, torch.bfloat16, int8=int8)
    assert adapter_of_folder(model, asked, "cpu", folder).nbytes == package.nbytes


def test_a_rank_on_all_linears_is_what_such_an_adapter_takes() -> None:
    model, asked = read_model(str(DEMO / "base"), None), Asked(dtype="bfloat16")
    there = adapter_of_folder(model, asked, "cpu", DEMO / "adapters" / "reverse")
    assert lora_adapter(model, asked, "cpu", 8, ()).nbytes == there.nbytes
    assert lora_adapter(model, asked, "cpu", 8, ("q_proj", "v_proj")).linears < there.linears


def test_a_target_that_the_model_has_not_is_named() -> None:
    model = read_model(str(DEMO / "base"), None)
    with pytest.raises(PlanError, match=r"no linear query; it has .*q_proj"):
        lora_adapter(model, Asked(), "cpu", 8, ("query",))
