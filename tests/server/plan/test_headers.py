"""Quantized checkpoints are weighed by the headers of their files."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.utils import SafetensorsFileMetadata, SafetensorsRepoMetadata, TensorInfo
from safetensors.torch import save_file
from support.quantized import write_quantized
from support.quantized_gptq import Gptq
from transformers import AutoModelForCausalLM, LlamaConfig

from loraplex_server.models.load import load_model
from loraplex_server.plan.asked import Asked
from loraplex_server.plan.error import PlanError
from loraplex_server.plan.headers import stored_bytes
from loraplex_server.plan.model import read_model
from loraplex_server.plan.weights import weight_parts

CONFIG = LlamaConfig(
    vocab_size=320, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=128, tie_word_embeddings=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def gptq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base, folder = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("gptq")
    AutoModelForCausalLM.from_config(CONFIG, dtype=torch.bfloat16).save_pretrained(base)
    how = Gptq(group=128)
    write_quantized(base, folder, how.config, how.pack)
    return folder


def test_what_a_quantized_checkpoint_takes_is_near_what_its_files_have(gptq: Path) -> None:
    model = read_model(str(gptq), None)
    assert model.quantizer == "gptq"
    planned = sum(part.nbytes for part in weight_parts(model, Asked(dtype="bfloat16"), "cpu"))
    loaded = load_model(str(gptq), device=torch.device("cpu"), dtype=torch.bfloat16)
    assert planned == pytest.approx(loaded.weights_nbytes, rel=0.01)


def test_all_tensors_of_a_module_are_counted_but_what_is_not_served(tmp_path: Path) -> None:
    tensors = {
        "a.q.weight": torch.zeros(4, 4, dtype=torch.uint8),
        "a.q.weight.absmax": torch.zeros(8),
        "a.k.qweight": torch.zeros(4, dtype=torch.int32),
        "a.k.g_idx": torch.zeros(100, dtype=torch.int32),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    assert stored_bytes(str(tmp_path), tmp_path) == {"a.q": 16 + 32, "a.k": 16}


@pytest.mark.parametrize(
    "content", [b"\xff" * 16, (2).to_bytes(8, "little") + b"{]", (2).to_bytes(8, "little") + b"[]"]
)
def test_what_is_no_safetensors_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(PlanError, match=r"model\.safetensors is no safetensors file"):
        stored_bytes(str(tmp_path), tmp_path)


def test_headers_of_a_hub_are_asked_for_and_no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tensor = TensorInfo(dtype="I32", shape=[4], data_offsets=(0, 16))
    file = SafetensorsFileMetadata(metadata={}, tensors={"a.k.qweight": tensor})
    found = SafetensorsRepoMetadata(
        metadata=None, sharded=False, weight_map={}, files_metadata={"model.safetensors": file}
    )
    asked: list[str] = []
    monkeypatch.setattr(huggingface_hub, "get_safetensors_metadata", lambda name: asked.append(name) or found)
    assert stored_bytes("org/model", tmp_path) == {"a.k": 16}
    assert asked == ["org/model"]


def test_a_hub_that_has_none_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise ConnectionError("offline")

    monkeypatch.setattr(huggingface_hub, "get_safetensors_metadata", refuse)
    with pytest.raises(PlanError, match="org/model's files cannot be read: offline"):
        stored_bytes("org/model", tmp_path)


def test_the_config_alone_is_enough_where_nothing_is_quantized(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG.to_dict() | {"architectures": ["LlamaForCausalLM"]}))
    model = read_model(str(tmp_path), None)
    assert (model.quantizer, model.stored) == (None, None)
    assert sum(part.nbytes for part in weight_parts(model, Asked(), "cuda")) > 0
