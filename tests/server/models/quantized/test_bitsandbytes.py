"""bitsandbytes: four bits with their states, eight bits with their scales, and QLoRA on the base it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import bitsandbytes
import pytest
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from bitsandbytes.backends.utils import _get_4bit_code
from peft import LoraConfig, get_peft_model
from support.engines import make_engine, request, run
from support.oracle import greedy
from support.quantized_bnb import load_bnb

from loraplex_server.models.errors import CheckpointError, UnsupportedModelError

from .conftest import opened
from .lone import MODULE, Lone

FOUR = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
EIGHT = {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_threshold": 6.0}
PROMPT = [7, 211, 45, 3, 99, 160, 18]


def _four(weight, **options):
    """By the library, as its Linear4bit saves them: the tensors, and its state."""
    packed, state = bitsandbytes.functional.quantize_4bit(weight, **options)
    parts = {f"weight.{name}": tensor for name, tensor in state.as_dict(packed=True).items()}
    return {"weight": packed} | parts, state


def _random(outputs, inputs):
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(4))


def test_the_high_half_of_a_byte_is_the_first_weight(tmp_path):
    tensors, _ = _four(_random(1, 64), quant_type="nf4", blocksize=64)
    tensors["weight"] = torch.full((32, 1), 0x1F, dtype=torch.uint8)
    tensors["weight.absmax"] = torch.tensor([2.0])
    form = Lone(tmp_path, FOUR, tensors, (1, 64)).read()
    assert form.codes[0, :4].tolist() == [1, 15, 1, 15]
    # The ends of NF4's table (QLoRA, appendix E), times absmax.
    assert form.dequantized()[0, :2].tolist() == pytest.approx([2 * -0.6961928009986877, 2.0])


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("blocksize", [64, 128, 256])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_is_what_the_library_makes_of_it_to_the_bit(tmp_path, kind, blocksize, nested, dtype):
    weight = _random(48, 512).to(dtype)
    tensors, state = _four(weight, quant_type=kind, blocksize=blocksize, compress_statistics=nested)
    form = Lone(tmp_path, FOUR, tensors, (48, 512)).read()
    expected = bitsandbytes.functional.dequantize_4bit(tensors["weight"], state)
    assert torch.equal(form.dequantized().to(dtype), expected)
    assert form.block == blocksize


@pytest.mark.parametrize("storage", [torch.bfloat16, torch.float16, torch.float32, torch.uint8])
def test_bytes_stored_as_other_numbers_are_the_same_bytes(tmp_path, storage):
    weight = _random(16, 128)
    tensors, state = _four(weight, quant_type="nf4", quant_storage=storage)
    assert tensors["weight"].dtype == storage
    form = Lone(tmp_path, FOUR, tensors, (16, 128)).read()
    assert torch.equal(form.dequantized(), bitsandbytes.functional.dequantize_4bit(tensors["weight"], state))


@pytest.mark.parametrize("inputs", [88, 96, 112, 100])
def test_blocks_that_go_on_in_the_next_row_are_cut_where_it_begins(tmp_path, inputs):
    weight = _random(20, inputs)
    tensors, state = _four(weight, quant_type="nf4", blocksize=64)
    form = Lone(tmp_path, FOUR, tensors, (20, inputs)).read()
    # Not by the library's kernel for AVX-512, which counts the blocks of each row anew.
    table = _get_4bit_code("nf4", weight.device)
    flat = tensors["weight"].reshape(-1)
    expected = _dequantize_4bit_compute(flat, state.absmax, table, 64, weight.shape, torch.float32)
    assert torch.equal(form.dequantized(), expected)
    assert (form.dequantized() - weight).abs().mean() < 0.1


def test_eight_bits_are_the_librarys_scales_and_its_integers(tmp_path):
    weight = _random(24, 96).half()
    rounded, scale, _ = bitsandbytes.functional.int8_vectorwise_quant(weight)
    tensors = {"weight": rounded, "SCB": scale, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    form = Lone(tmp_path, EIGHT, tensors, (24, 96)).read()
    assert torch.equal(form.codes.int() - 128, rounded.int())
    expected = bitsandbytes.functional.int8_vectorwise_dequant(rounded, scale)
    torch.testing.assert_close(form.dequantized(), expected, rtol=3e-7, atol=0)


def test_layouts_of_old_gpus_are_refused(tmp_path):
    tensors = {"weight": torch.zeros(4, 8).char(), "SCB": torch.ones(4), "weight_format": torch.tensor(2).byte()}
    with pytest.raises(CheckpointError, match=rf"{MODULE}: weight_format 2 is a layout for one generation"):
        Lone(tmp_path, EIGHT, tensors, (4, 8)).read()


def _restate(tensors, **changes):
    """The JSON of the state, changed."""
    name = "weight.quant_state.bitsandbytes__nf4"
    state = json.loads(bytes(tensors[name].tolist())) | changes
    return tensors | {name: torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [32, 64]}, r"the state of nf4 \[32, 64\] .* where nf4 \[16, 128\] is expected"),
        ({"quant_type": "fp4"}, r"the state of fp4 \[16, 128\]"),
        ({"blocksize": 0}, "in blocks of 0"),
        ({"shape": None}, "not the JSON of a quantization state"),
    ],
)
def test_the_state_of_another_weight_is_refused(tmp_path, changes, message):
    tensors, _ = _four(_random(16, 128), quant_type="nf4")
    lone = Lone(tmp_path, FOUR, _restate(tensors, **changes), (16, 128))
    with pytest.raises(CheckpointError, match=rf"{MODULE}\.weight\.quant_state\.bitsandbytes__nf4: it is .*{message}"):
        lone.read()


@pytest.mark.parametrize(
    "missing", ["weight", "weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map"]
)
def test_a_missing_part_is_named(tmp_path, missing):
    tensors, _ = _four(_random(16, 128), quant_type="nf4", compress_statistics=True)
    lone = Lone(tmp_path, FOUR, {name: tensor for name, tensor in tensors.items() if name != missing}, (16, 128))
    assert f"{MODULE}.{missing}" in lone.tensors()
    with pytest.raises(CheckpointError, match=rf"lacks {MODULE}\.{missing}$"):
        lone.read()


def test_bytes_without_a_state_are_not_taken_for_a_weight(tmp_path):
    tensors, _ = _four(_random(16, 128), quant_type="nf4")
    lone = Lone(tmp_path, FOUR, {"weight": tensors["weight"]}, (16, 128))
    assert f"{MODULE}.weight.quant_state.bitsandbytes__nf4" in lone.tensors()
    with pytest.raises(CheckpointError, match="lacks"):
        lone.read()


def test_linears_that_were_skipped_are_left_to_the_others(tmp_path):
    for config in (FOUR, EIGHT):
        assert Lone(tmp_path, config, {"weight": _random(4, 8)}, (4, 8)).tensors() == {}


def test_a_config_without_a_method_is_of_old_transformers(tmp_path):
    config = {name: value for name, value in FOUR.items() if name != "quant_method"}
    tensors, state = _four(_random(16, 128), quant_type="nf4")
    expected = bitsandbytes.functional.dequantize_4bit(tensors["weight"], state)
    assert torch.equal(Lone(tmp_path, config, tensors, (16, 128)).read().dequantized(), expected)


@pytest.mark.parametrize("flags", [(False, False), (True, True)])
def test_neither_four_nor_eight_bits_are_refused(tmp_path, flags):
    config = {"quant_method": "bitsandbytes", "load_in_4bit": flags[0], "load_in_8bit": flags[1]}
    with pytest.raises(UnsupportedModelError, match="neither or both of load_in_4bit and load_in_8bit"):
        Lone(tmp_path, config, {"weight": _random(4, 8)}, (4, 8)).tensors()


def test_the_reader_says_what_it_reads(write):
    with opened(write("bnb-nf4-double").folder) as reader:
        assert reader.name == "bitsandbytes nf4, double quantization"


@pytest.fixture(scope="module")
def qlora(write, tmp_path_factory) -> Path:
    """An adapter that PEFT made for the NF4 base itself."""
    folder = tmp_path_factory.mktemp("qlora") / "qlora"
    torch.manual_seed(3)
    config = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_bnb(write("bnb-nf4-double").folder), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    return folder


def test_qlora_on_its_nf4_base_is_what_peft_makes_of_both(write, qlora):
    base = write("bnb-nf4-double").folder
    core = make_engine(base, threads=1, kv_cache_memory=1 << 20, adapter_memory=4 << 20)
    outputs = run(core, [request("qlora", PROMPT, ["qlora"], root=qlora.parent), request("base", PROMPT)])
    models = {"base": load_bnb(base), "qlora": load_bnb(base, qlora)}
    for name, model in models.items():
        expected = greedy(model, PROMPT, 8)
        assert outputs[name, 0].tokens == expected.tokens
        assert outputs[name, 0].logprobs == pytest.approx(expected.logprobs, abs=2e-3)
    assert outputs["qlora", 0].tokens != outputs["base", 0].tokens
