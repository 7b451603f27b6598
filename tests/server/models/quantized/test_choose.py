"""Which checkpoints are quantized, and which of them are refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from support.checkpoints import load_base, write_base
from support.quantized import edit, edit_config, write_quantized
from support.quantized_awq import Awq
from support.quantized_gptq import Gptq
from transformers import Phi3Config, Qwen2Config

from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.errors import CheckpointError, UnsupportedModelError
from loraplex_server.models.load import load_model
from loraplex_server.models.quantized.choose import weight_reader

from .lone import MODULE, Lone

REFUSED = [
    ("hqq", "serve the floating-point checkpoint"),
    ("aqlm", "serve the floating-point checkpoint"),
    ("quip", "serve the floating-point checkpoint"),
    ("eetq", "serve the floating-point checkpoint"),
    ("quanto", "serve the floating-point checkpoint"),
    ("torchao", "serve the floating-point checkpoint"),
    ("exl2", "belongs to ExLlamaV2"),
    ("gguf", "belongs to llama.cpp"),
    ("mxfp4", "blocks of 32"),
    ("nvfp4", "blocks of 16"),
    ("modelopt", "llm-compressor writes the same FP8"),
    ("auto-round", "format='auto_gptq'"),
    ("something-new", "serve the floating-point checkpoint"),
]


@pytest.mark.parametrize(("method", "instead"), REFUSED)
def test_other_methods_are_refused_by_name_with_what_to_do(tmp_path, method, instead):
    lone = Lone(tmp_path, {"quant_method": method}, {"weight": torch.zeros(1)}, (1, 1))
    with pytest.raises(UnsupportedModelError, match=rf"quantization method {method} .* is not served; .*{instead}.*"):
        lone.read()


@pytest.mark.parametrize("config", [{}, {"quantization_config": None}, {"quantization_config": {}}])
def test_a_checkpoint_that_says_nothing_is_not_quantized(tmp_path, config):
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with Checkpoint(tmp_path) as checkpoint:
        assert weight_reader(config, checkpoint) is None


@pytest.mark.parametrize(
    ("file", "config", "name"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 128, "desc_act": True}, "GPTQ int4 group 128 act-order"),
        ("quantize_config.json", {"bits": 4, "quant_method": "awq", "checkpoint_format": "gemm"}, "AWQ int4 group 128"),
        ("quant_config.json", {"w_bit": 4, "q_group_size": 64, "version": "GEMM"}, "AWQ int4 group 64"),
    ],
)
def test_files_of_older_quantizers_are_found(tmp_path, file, config, name):
    (tmp_path / file).write_text(json.dumps(config))
    assert Lone(tmp_path, None, {"weight": torch.zeros(1)}, (1, 1)).name == name


def test_config_json_counts_before_other_files(tmp_path):
    (tmp_path / "quantize_config.json").write_text('{"bits": 8}')
    assert Lone(tmp_path, Awq(32).config, {"weight": torch.zeros(1)}, (1, 1)).name == "AWQ int4 group 32"


def test_modelopt_is_refused_by_its_file(tmp_path):
    (tmp_path / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
    with pytest.raises(UnsupportedModelError, match="quantization method modelopt"):
        Lone(tmp_path, None, {"weight": torch.zeros(1)}, (1, 1)).read()


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_file_is_refused_by_its_name(tmp_path, text):
    (tmp_path / "quantize_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"quantize_config\.json is not (a )?JSON"):
        Lone(tmp_path, None, {"weight": torch.zeros(1)}, (1, 1)).read()


@pytest.mark.parametrize("config", ["gptq", {"bits": 4}])
def test_a_config_that_names_no_method_is_refused(tmp_path, config):
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with Checkpoint(tmp_path) as checkpoint, pytest.raises(CheckpointError, match=r"quantization_config of .*config"):
        weight_reader({"quantization_config": config}, checkpoint)


def _load(folder):
    return load_model(str(folder), device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def gptq(base, tmp_path):
    write_quantized(base, tmp_path, Gptq().config, Gptq().pack)
    return tmp_path


def test_missing_and_unexpected_tensors_of_a_model_are_named(gptq):
    edit(gptq, lambda tensors: tensors.update({f"{MODULE}.extra": tensors.pop(f"{MODULE}.qzeros")}))
    with pytest.raises(CheckpointError, match=rf"lacks {MODULE}\.qzeros; it has unexpected {MODULE}\.extra"):
        _load(gptq)


def test_a_model_with_other_groups_than_its_config_says_is_refused(gptq):
    edit_config(gptq, group_size=16)
    with pytest.raises(CheckpointError, match=r"down_proj\.qzeros \[4, 8\], not \[8, 8\]"):
        _load(gptq)


def test_a_linear_may_be_left_in_floating_point(gptq, base):
    edit(gptq, lambda tensors: [tensors.pop(f"{MODULE}.{name}") for name in ("qweight", "qzeros", "scales", "g_idx")])
    edit(gptq, lambda tensors: tensors.update({f"{MODULE}.weight": torch.ones(64, 64)}))
    decoder = _load(gptq)
    assert torch.equal(decoder.site_weight(0), torch.ones(64, 64))
    assert not torch.equal(decoder.site_weight(1), torch.ones(32, 64))


@pytest.mark.parametrize("config", [Qwen2Config, Phi3Config], ids=["biases, tied", "packed projections"])
def test_other_families_are_read_alike(config, tiny, tmp_path, paged):
    write_base(tmp_path / "base", config(**tiny(tie_word_embeddings=config is Qwen2Config)))
    how = Gptq(act_order=True, symmetric=False)
    meant = write_quantized(tmp_path / "base", tmp_path / "quantized", how.config, how.pack)
    tokens = [7, 21, 45, 3, 98]
    ours = paged(_load(tmp_path / "quantized"), [tokens]).step([len(tokens)])[0]
    expected = load_base(meant)(torch.tensor([tokens])).logits[0]
    torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-4)


def test_a_head_that_is_missing_is_missed_in_floating_point(gptq):
    edit(gptq, lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(CheckpointError, match=r"lacks lm_head\.weight$"):
        _load(gptq)


def test_a_quantized_head_is_served(gptq):
    packed, weight = Gptq().pack("lm_head", torch.randn(320, 64))
    edit(gptq, lambda tensors: tensors.pop("lm_head.weight"))
    edit(gptq, lambda tensors: tensors.update({f"lm_head.{name}": tensor for name, tensor in packed.items()}))
    decoder = _load(gptq)
    torch.testing.assert_close(decoder.site_weight(decoder.sites[-1].index), weight)


def test_a_model_of_another_method_is_refused_before_its_weights_are_read(gptq):
    edit_config(gptq, quant_method="hqq")
    edit(gptq, lambda tensors: tensors.clear() or tensors.update(x=torch.zeros(1)))
    with pytest.raises(UnsupportedModelError, match="quantization method hqq"):
        _load(gptq)
