"""Every format, from the files to the logits, without and with LoRA."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import VOCAB, load_adapter, load_base, write_adapter
from support.engines import make_engine, request, run
from support.oracle import greedy
from support.quantized import write_quantized
from support.quantized_awq import Awq
from support.quantized_gptq import Gptq

from loraplex_server.models.load import load_model

from .conftest import SHAPES, opened

# One for each way in which a weight is stored.
WITH_ADAPTER = [
    "gptq-int4",
    "gptq-int4-act-order",
    "awq",
    "ct-int4-group-asymmetric",
    "ct-w8a8",
    "ct-fp8-tensor-static",
    "bnb-nf4-double",
    "bnb-int8",
    "fp8-tiles",
    "fbgemm",
]
PROMPT = [7, 211, 45, 3, 99, 160, 18]


@pytest.fixture(scope="session")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapters")
    write_adapter(base, root / "lora", r=6, target_modules="all-linear")
    return root / "lora"


def test_a_weight_is_what_its_own_library_reads_to_the_bit(quantized):
    for module, shape in SHAPES.items():
        with opened(quantized.folder) as reader:
            weight = reader.read(f"model.layers.1.{module}", shape).dequantized()
        expected = quantized.weight(module, layer=1)
        if "bnb-int8" in str(quantized.folder):  # the library divides last, the form has the quotient as its scale
            torch.testing.assert_close(weight, expected, rtol=3e-7, atol=0)
        else:
            assert torch.equal(weight, expected), module


def test_the_tensors_that_stand_for_weights_are_all_that_are_there(quantized):
    with opened(quantized.folder) as reader:
        names = [
            name
            for layer in range(2)
            for module, shape in SHAPES.items()
            for name in reader.tensors(f"model.layers.{layer}.{module}", shape)
        ]
        assert not reader.tensors("lm_head", (VOCAB, 64))
        assert all(name in reader.checkpoint for name in names)
        assert not any(name in reader.checkpoint for name in ["model.layers.0.mlp.down_proj.other"])
    assert len(set(names)) == len(names)


def test_the_logits_are_those_of_the_weights_that_are_meant(quantized, paged):
    decoder = load_model(str(quantized.folder), device=torch.device("cpu"), dtype=torch.float32)
    ours = paged(decoder, [PROMPT]).step([len(PROMPT)])[0]
    with torch.inference_mode():
        expected = load_base(quantized.meant)(torch.tensor([PROMPT])).logits[0]
    torch.testing.assert_close(ours, expected, atol=2e-3, rtol=1e-4)


GPTQ_WIDE, AWQ_WIDE = Gptq(bits=8, group=-1), Awq(group=-1)


@pytest.mark.parametrize("how", [GPTQ_WIDE, AWQ_WIDE], ids=["gptq", "awq"])
def test_nothing_of_the_checkpoint_stays_mapped(how, base, tmp_path):
    write_quantized(base, tmp_path, how.config, how.pack)
    decoder = load_model(str(tmp_path), device=torch.device("cpu"), dtype=torch.float32)
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert decoder.sites  # it lives


@pytest.mark.parametrize("everywhere", [False, True])
def test_scales_of_attention_beside_linears_that_are_not_quantized_are_known(everywhere, base, tmp_path):
    for path in base.iterdir():
        shutil.copy2(path, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "config_groups": {},
        "kv_cache_scheme": {"num_bits": 8, "type": "float"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = load_file(tmp_path / "model.safetensors")
    for kind in "qkv" if everywhere else "kv":
        tensors[f"model.layers.1.self_attn.{kind}_scale"] = torch.ones(1)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    load_model(str(tmp_path), device=torch.device("cpu"), dtype=torch.float32)


@pytest.mark.parametrize("name", WITH_ADAPTER)
def test_an_adapter_on_it_gives_what_peft_gives(name, write, adapter):
    quantized = write(name)
    core = make_engine(quantized.folder, threads=1, kv_cache_memory=1 << 20, adapter_memory=4 << 20)
    outputs = run(core, [request("lora", PROMPT, ["lora"], root=adapter.parent), request("base", PROMPT)])
    for answer, model in [("lora", load_adapter(quantized.meant, adapter)), ("base", load_base(quantized.meant))]:
        expected = greedy(model, PROMPT, 8)
        assert outputs[answer, 0].tokens == expected.tokens
        assert outputs[answer, 0].logprobs == pytest.approx(expected.logprobs, abs=2e-3)
    assert outputs["lora", 0].tokens != outputs["base", 0].tokens
