"""fp8: tiles, whole tensors, rows; what the activations bring."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from support.quantized_fp8 import grid, pack_rows, pack_tensor, pack_tiles, tiles_config

from loraplex_server.models.errors import CheckpointError, UnsupportedModelError

from .lone import MODULE, Lone

TENSOR = {"quant_method": "fp8", "activation_scheme": "dynamic"}
STATIC = {"quant_method": "fp8", "activation_scheme": "static"}


def _random(outputs, inputs):
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(6))


def test_scale_inv_is_multiplied_though_it_is_named_inverse(tmp_path):
    tensors, _ = pack_tiles(16, 16)(MODULE, _random(32, 48))
    form = Lone(tmp_path, tiles_config(16, 16), tensors, (32, 48)).read()
    expected = tensors["weight"].float() * grid(tensors["weight_scale_inv"], 16, 16, (32, 48))
    assert torch.equal(form.dequantized(), expected)
    assert (form.dequantized() - _random(32, 48)).abs().max() < 0.2


def test_the_last_tiles_may_be_smaller(tmp_path):
    values = _random(200, 130).to(torch.float8_e4m3fn)
    scale = torch.rand(2, 2)
    lone = Lone(tmp_path, tiles_config(128, 128), {"weight": values, "weight_scale_inv": scale}, (200, 130))
    assert torch.equal(lone.read().dequantized(), values.float() * grid(scale, 128, 128, (200, 130)))


@pytest.mark.parametrize("stored", [torch.float8_e8m0fnu, torch.uint8])
def test_scales_that_are_powers_of_two_are_read_from_their_exponents(tmp_path, stored):
    exponents = torch.tensor([[127, 120], [130, 127]], dtype=torch.uint8)
    scale = exponents.view(torch.float8_e8m0fnu) if stored != torch.uint8 else exponents
    values = _random(32, 32).to(torch.float8_e4m3fn)
    config = tiles_config(16, 16, scale_fmt="ue8m0")
    form = Lone(tmp_path, config, {"weight": values, "weight_scale_inv": scale}, (32, 32)).read()
    assert form.scale.tolist() == [[1.0, 2**-7], [8.0, 1.0]]


def test_bytes_are_no_scales_unless_the_config_says_so(tmp_path):
    values = _random(32, 32).to(torch.float8_e4m3fn)
    scale = torch.ones(2, 2, dtype=torch.uint8)
    lone = Lone(tmp_path, tiles_config(16, 16), {"weight": values, "weight_scale_inv": scale}, (32, 32))
    with pytest.raises(CheckpointError, match=rf"{MODULE}\.weight_scale_inv as uint8"):
        lone.read()


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_scale_a_tensor_may_have_any_shape_of_one_number(tmp_path, shape):
    tensors, meant = pack_tensor(static=False)(MODULE, _random(16, 32))
    tensors = dict(tensors) | {"weight_scale": tensors["weight_scale"].reshape(shape)}
    lone = Lone(tmp_path, TENSOR, tensors, (16, 32))
    assert lone.tensors()[f"{MODULE}.weight_scale"] == shape
    assert torch.equal(lone.read().dequantized(), meant)


def test_measured_activations_bring_their_scale_under_either_name(tmp_path):
    tensors, _ = pack_tensor(static=True)(MODULE, _random(16, 32))
    assert Lone(tmp_path, STATIC, tensors, (16, 32)).read().input_scale == pytest.approx(0.05)
    renamed = {"weight": tensors["weight"], "weight_scale_inv": tensors["weight_scale"]}
    renamed["activation_scale"] = tensors["input_scale"]
    assert Lone(tmp_path, STATIC, renamed, (16, 32)).read().input_scale == pytest.approx(0.05)


def test_a_measured_scale_that_is_missing_is_named(tmp_path):
    tensors, _ = pack_tensor(static=False)(MODULE, _random(16, 32))
    with pytest.raises(CheckpointError, match=rf"lacks {MODULE}\.activation_scale"):
        Lone(tmp_path, STATIC, tensors, (16, 32)).read()


def test_a_weight_without_its_scale_is_not_taken_for_one(tmp_path):
    tensors, _ = pack_tensor(static=False)(MODULE, _random(16, 32))
    lone = Lone(tmp_path, TENSOR, {"weight": tensors["weight"]}, (16, 32))
    assert f"{MODULE}.weight_scale_inv" in lone.tensors()
    with pytest.raises(CheckpointError, match=rf"lacks {MODULE}\.weight_scale_inv"):
        lone.read()


def test_another_kind_of_eight_bit_floats_is_refused(tmp_path):
    tensors = {"weight": torch.ones(16, 32).to(torch.float8_e5m2), "weight_scale": torch.ones(1)}
    with pytest.raises(CheckpointError, match=rf"{MODULE}\.weight as float8_e5m2 .*, not float8_e4m3fn"):
        Lone(tmp_path, TENSOR, tensors, (16, 32)).read()


def test_linears_in_floating_point_are_left_to_the_others(tmp_path):
    for config in (TENSOR, tiles_config(16, 16), {"quant_method": "fbgemm_fp8"}):
        assert Lone(tmp_path, config, {"weight": _random(16, 32)}, (16, 32)).tensors() == {}


@pytest.mark.parametrize("bound", [False, True])
def test_fbgemms_rows(tmp_path, bound):
    tensors, meant = pack_rows(MODULE, _random(16, 32))
    tensors = dict(tensors) | ({"input_scale_ub": torch.tensor([1200.0])} if bound else {})
    lone = Lone(tmp_path, {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, tensors, (16, 32))
    assert (f"{MODULE}.input_scale_ub" in lone.tensors()) == bound
    assert torch.equal(lone.read().dequantized(), meant)


def test_scales_of_the_kv_cache_are_known_where_the_config_speaks_of_them(tmp_path, caplog):
    module = "model.layers.0.self_attn.k_proj"
    tensors, _ = pack_tensor(static=False)(module, _random(16, 32))
    for scheme in (None, "static"):
        lone = Lone(tmp_path, TENSOR | {"kv_cache_scheme": scheme}, tensors, (16, 32), module)
        named = {f"{module}.{suffix}": tensor for suffix, tensor in tensors.items()}
        extra = {"model.layers.0.self_attn.kv_scale": torch.ones(1), f"{module}.k_scale": torch.ones(1)}
        save_file(named | extra, tmp_path / "model.safetensors")
        assert (extra.keys() <= lone.unused().keys()) == (scheme is not None)
    assert "kv_cache_scheme is not applied" in caplog.text


def test_an_unknown_scheme_of_activations_is_refused(tmp_path):
    with pytest.raises(UnsupportedModelError, match="activation_scheme 'adaptive'"):
        Lone(tmp_path, TENSOR | {"activation_scheme": "adaptive"}, {"weight": _random(4, 8)}, (4, 8)).tensors()


@pytest.mark.parametrize("size", [128, [128], [128, 0], ["a", "b"]])
def test_tiles_of_no_size_are_refused(tmp_path, size):
    lone = Lone(tmp_path, TENSOR | {"weight_block_size": size}, {"weight": _random(4, 8)}, (4, 8))
    with pytest.raises(CheckpointError, match=r"weight_block_size in .* must be two sizes"):
        lone.tensors()
