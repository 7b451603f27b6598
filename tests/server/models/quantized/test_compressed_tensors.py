"""compressed-tensors: which linears, which bits, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file

from loraplex_server.models.errors import CheckpointError, UnsupportedModelError
from loraplex_server.models.quantized.input_order import input_order

from .conftest import SHAPES, opened, read
from .lone import MODULE, Lone

INT4: dict[str, Any] = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 16}
FP8: dict[str, Any] = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}


def _config(weights: dict[str, Any] = INT4, stored: str = "pack-quantized", **changes: Any) -> dict[str, Any]:
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    fields = {"quant_method": "compressed-tensors", "format": stored, "ignore": ["lm_head"], "config_groups": groups}
    return fields | {"quantization_status": "compressed"} | changes


def _packed(weight, weights: dict[str, Any] = INT4, stored: str = "pack-quantized"):
    """By the library: the tensors, and what it makes of them."""
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    outputs, inputs = weight.shape
    rows, columns = {
        "tensor": weight.shape,
        "channel": (1, inputs),
        "group": (1, scheme.weights.group_size),
        "block": scheme.weights.block_structure,
    }[scheme.weights.strategy]
    tiles = weight.reshape(outputs // rows, rows, inputs // columns, columns)
    scale, zero = calculate_qparams(tiles.amin((1, 3)), tiles.amax((1, 3)), scheme.weights)
    compressor = BaseCompressor.get_value_from_registry(stored)
    given = {"weight": weight, "weight_scale": scale.to(weight.dtype), "weight_zero_point": zero}
    tensors = compressor.compress(given, scheme)
    return tensors, compressor.decompress(dict(tensors), scheme)["weight"]


def test_a_word_holds_eight_inputs_and_their_middle_is_added(tmp_path):
    tensors = {
        "weight_packed": torch.full((1, 1), 0x76543210, dtype=torch.int32),
        "weight_scale": torch.full((1, 1), 0.5),
        "weight_shape": torch.tensor([1, 8]),
    }
    form = Lone(tmp_path, _config(INT4 | {"group_size": 8}), tensors, (1, 8)).read()
    assert form.dequantized().tolist() == [[(code - 8) * 0.5 for code in range(8)]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("strategy", ["group", "channel"])
def test_packed_integers_are_the_librarys_in_each_dtype_of_the_scales(tmp_path, dtype, bits, symmetric, strategy):
    weights = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": strategy}
    weights |= {"group_size": 16} if strategy == "group" else {}
    tensors, expected = _packed(torch.randn(24, 48, generator=torch.Generator().manual_seed(1)).to(dtype), weights)
    form = Lone(tmp_path, _config(weights), tensors, (24, 48)).read()
    # The library multiplies in the scales' dtype, which rounds the same product once.
    assert torch.equal(form.dequantized().to(dtype), expected)
    assert (form.zero is None) == symmetric


@pytest.mark.parametrize("strategy", ["tensor", "channel", "block"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_floats_are_the_librarys(tmp_path, strategy, dtype):
    weights = {"num_bits": 8, "type": "float", "strategy": strategy}
    weights |= {"block_structure": [8, 16]} if strategy == "block" else {}
    tensors, expected = _packed(torch.randn(24, 48).to(dtype), weights, "float-quantized")
    form = Lone(tmp_path, _config(weights, "float-quantized"), tensors, (24, 48)).read()
    assert torch.equal(form.dequantized().to(dtype), expected)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("strategy", ["tensor", "channel"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_integers_one_a_byte_are_the_librarys(tmp_path, bits, strategy, symmetric):
    weights = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": strategy}
    tensors, expected = _packed(torch.randn(24, 48), weights, "int-quantized")
    form = Lone(tmp_path, _config(weights, "int-quantized"), tensors, (24, 48)).read()
    assert torch.equal(form.dequantized(), expected)


def test_inputs_in_the_order_of_their_groups_are_put_back(tmp_path):
    tensors, expected = _packed(torch.randn(8, 64))
    places = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    codes = torch.stack([tensors["weight_packed"] >> shift & 15 for shift in range(0, 32, 4)], 2).view(8, 64)
    words = (codes[:, places].long().view(8, 8, 8) << torch.arange(0, 32, 4)).sum(2)
    tensors["weight_packed"] = torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)
    tensors["weight_g_idx"] = (places // 16).to(torch.int32)
    form = Lone(tmp_path, _config(INT4 | {"actorder": "group"}), tensors, (8, 64)).read()
    assert torch.equal(form.dequantized(), expected[:, places])


def test_static_activations_bring_their_scale(write):
    form = read(write("ct-fp8-tensor-static").folder)
    assert form.input_scale == pytest.approx(0.05)
    assert read(write("ct-fp8-channel").folder).input_scale is None


@pytest.mark.parametrize(
    ("ignore", "plain"),
    [
        (["lm_head", "model.layers.0.self_attn.q_proj"], {"model.layers.0.self_attn.q_proj"}),
        (["re:.*self_attn"], {f"model.layers.{n}.{m}" for n in (0, 1) for m in SHAPES if "attn" in m}),
        (["re:self_attn"], set()),  # from the beginning of the name, as re.match has it
        (["Linear"], {f"model.layers.{n}.{m}" for n in (0, 1) for m in SHAPES}),
    ],
)
def test_the_ignore_list_is_matched_as_the_library_does(tmp_path, ignore, plain):
    lone = Lone(tmp_path, _config(ignore=ignore), {"weight": torch.zeros(2, 16)}, (2, 16))
    found = {name for name in (f"model.layers.{n}.{m}" for n in (0, 1) for m in SHAPES) if not lone.tensors(name)}
    assert found == plain


def test_a_name_counts_before_a_regular_expression_and_that_before_a_class(tmp_path):
    groups = {
        "a": {"targets": ["Linear"], "weights": INT4},
        "b": {"targets": ["re:.*_proj$"], "weights": FP8, "format": "float-quantized"},
        "c": {"targets": [MODULE], "weights": {"num_bits": 8, "strategy": "channel"}, "format": "int-quantized"},
    }
    tensors = {"weight": torch.ones(4, 16, dtype=torch.int8), "weight_scale": torch.ones(4, 1)}
    lone = Lone(tmp_path, _config(config_groups=groups), tensors, (4, 16))
    assert torch.equal(lone.read().dequantized(), torch.ones(4, 16))
    assert "model.layers.0.self_attn.k_proj.weight_scale" in lone.tensors("model.layers.0.self_attn.k_proj")
    assert "score.weight_packed" in lone.tensors("score")
    assert lone.tensors("lm_head") == {}


def test_a_head_that_is_the_embedding_is_not_asked_for(tmp_path):
    lone = Lone(tmp_path, _config(ignore=[]), {"weight": torch.zeros(2, 16)}, (2, 16))
    assert lone.tensors("lm_head") == {}
    assert lone.tensors()


def test_a_linear_that_should_be_quantized_and_is_not_is_missed(tmp_path):
    lone = Lone(tmp_path, _config(), {"weight": torch.zeros(2, 16)}, (2, 16))
    assert f"{MODULE}.weight_packed" in lone.tensors()
    with pytest.raises(CheckpointError, match=rf"lacks {MODULE}\.weight_packed"):
        lone.read()


def test_the_config_of_older_versions_is_found(tmp_path):
    tensors, expected = _packed(torch.randn(8, 32))
    method = {"quant_method": "compressed-tensors"}
    nested = {"quantization_config": _config()}
    for found in [
        {"compression_config": _config()},
        {"compression_config": nested},
        {"quantization_config": method | nested},
    ]:
        lone = Lone(tmp_path, None, tensors, (8, 32))
        lone.config = found
        assert torch.equal(lone.read().dequantized(), expected)


def test_a_group_order_that_nobody_set_is_no_order():
    assert input_order(torch.full((32,), -1, dtype=torch.int32), 8) is None


def test_scales_of_the_kv_cache_are_known_and_said_not_to_be_used(tmp_path, caplog):
    module = "model.layers.0.self_attn.k_proj"
    tensors, _ = _packed(torch.randn(8, 32))
    lone = Lone(tmp_path, _config(kv_cache_scheme={"num_bits": 8, "type": "float"}), tensors, (8, 32), module)
    named = {f"{module}.{suffix}": tensor for suffix, tensor in tensors.items()}
    save_file(named | {"model.layers.0.self_attn.k_scale": torch.ones(1)}, tmp_path / "model.safetensors")
    assert lone.unused()["model.layers.0.self_attn.k_scale"] == (1,)
    assert "kv_cache_scheme is not applied" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "nvfp4-pack-quantized"}, "compressed-tensors format nvfp4-pack-quantized .* save it as pack-quant"),
        ({"format": "mxfp4-pack-quantized"}, "compressed-tensors format mxfp4-pack-quantized"),
        ({"format": "marlin-24"}, "compressed-tensors format marlin-24"),
        ({"format": "dense"}, "compressed-tensors format dense"),
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity stored as sparse-24-bitmask"),
        ({"transform_config": {"config_groups": {"R1": {}}}}, "transform_config"),
        ({"quantization_status": "calibration"}, "quantization_status calibration .* save it compressed"),
        ({"config_groups": {"W4A16": ["Linear"]}}, "a preset's name"),
        ({"config_groups": {"g": {"targets": ["Linear"]}}}, "a config group without weights"),
    ],
)
def test_what_is_not_served_is_refused_by_name(tmp_path, changes, message):
    lone = Lone(tmp_path, _config(**changes), {"weight": torch.zeros(2, 16)}, (2, 16))
    with pytest.raises(UnsupportedModelError, match=message):
        lone.tensors()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (INT4 | {"num_bits": 3}, "integers of 3 bits"),
        (FP8 | {"num_bits": 4}, "floats of 4 bits"),
        (INT4 | {"strategy": "tensor_group"}, "strategy tensor_group"),
        (INT4 | {"strategy": "block", "block_structure": [2, 2]}, "integers by blocks"),
        (INT4 | {"strategy": "channel", "group_size": -1, "actorder": "group"}, "actorder with strategy channel"),
        (FP8, "floats that are packed"),
    ],
)
def test_weights_that_have_no_form_are_refused(tmp_path, weights, message):
    lone = Lone(tmp_path, _config(weights), {"weight": torch.zeros(2, 16)}, (2, 16))
    with pytest.raises(UnsupportedModelError, match=message):
        lone.tensors()


@pytest.mark.parametrize("changes", [{"ignore": ["re:("]}, {"config_groups": {"g": {"targets": 3, "weights": INT4}}}])
def test_a_damaged_config_is_refused(tmp_path, changes):
    lone = Lone(tmp_path, _config(**changes), {"weight": torch.zeros(2, 16)}, (2, 16))
    with pytest.raises(CheckpointError, match=r"'\(' in .* is no regular expression|targets in .* must be a list"):
        lone.tensors()


def test_a_shape_that_is_not_the_weights_is_refused(tmp_path):
    tensors, _ = _packed(torch.randn(8, 32))
    lone = Lone(tmp_path, _config(), tensors | {"weight_shape": torch.tensor([8, 31])}, (8, 32))
    with pytest.raises(CheckpointError, match=rf"{MODULE}: weight_shape is \[8, 31\], not \[8, 32\]"):
        lone.read()


def test_bytes_that_are_no_integers_of_four_bits_are_refused(tmp_path):
    tensors = {"weight": torch.full((4, 16), 9, dtype=torch.int8), "weight_scale": torch.ones(4, 1)}
    lone = Lone(tmp_path, _config({"num_bits": 4, "strategy": "channel"}, "int-quantized"), tensors, (4, 16))
    with pytest.raises(CheckpointError, match=rf"{MODULE}: values from 9 to 9 are no integers of 4 bits"):
        lone.read()


def test_the_reader_says_what_it_reads(write):
    with opened(write("ct-int4-group-asymmetric").folder) as reader:
        assert reader.name == "compressed-tensors int4 group 16 asymmetric"
