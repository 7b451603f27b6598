"""Models rounded at their start: each linear is what its rounder gave, and everything else is as it was."""

from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma2Config, LlamaConfig, Phi3Config

from loraplex_kernels.linear.rounders import ROUNDERS, round_weight
from loraplex_kernels.linear.side_by_side import SideBySide
from loraplex_kernels.linear.stored import StoredWeight
from loraplex_server.models.errors import UnsupportedModelError
from loraplex_server.models.load import load_model

CPU = torch.device("cpu")
each_form = pytest.mark.parametrize("form", ROUNDERS)


@pytest.fixture(params=[LlamaConfig, Gemma2Config, Phi3Config], ids=["llama", "gemma2", "phi3"])
def oracle(request, make_oracle):
    return make_oracle(request.param, intermediate_size=128)


@each_form
def test_the_model_is_that_of_its_rounded_weights(form, oracle, paged, sequences):
    decoder = oracle.load(form, head_quantization="none")
    modules = dict(oracle.model.named_modules())
    with torch.no_grad():
        for site in decoder.sites[:-1]:
            weight = modules[site.name].weight
            weight.copy_(round_weight(weight, form).dequantized())
            torch.testing.assert_close(decoder.site_weight(site.index), weight.detach(), rtol=1e-6, atol=1e-7)
    ours = paged(decoder, sequences).step([len(sequence) for sequence in sequences])
    for logits, sequence in zip(ours, sequences, strict=True):
        torch.testing.assert_close(logits, oracle.logits(sequence), atol=3e-4, rtol=0)
    assert decoder.quantization == form


@each_form
def test_rounded_linears_take_less_memory(form, oracle):
    exact, rounded = oracle.load(), oracle.load(form)
    exact_bytes, rounded_bytes = (
        sum(linear.weight.nbytes for layer in model.layers for linear in layer.linears) for model in (exact, rounded)
    )
    assert rounded_bytes < exact_bytes * (0.2 if "4" in form else 0.28)


def test_auto_serves_a_floating_point_checkpoint_as_it_is(oracle):
    auto, none = oracle.load("auto"), oracle.load("none")
    for site in none.sites:
        assert torch.equal(auto.site_weight(site.index), none.site_weight(site.index))
    assert auto.quantization == "none"


def test_the_checkpoints_own_values_are_rounded_not_what_the_models_dtype_leaves_of_them(make_oracle):
    oracle = make_oracle(LlamaConfig)
    decoder = oracle.load("int8-weight", dtype=torch.bfloat16)
    site = decoder.sites[0]
    weight = oracle.model.get_submodule(site.name).weight.detach()
    assert torch.equal(decoder.site_weight(site.index), round_weight(weight, "int8-weight").dequantized())


def test_a_weight_that_a_form_has_no_place_for_is_refused_by_name(make_oracle):
    with pytest.raises(UnsupportedModelError, match=r"--quantization nf4: model\.layers\.0\.mlp\.down_proj: .*88"):
        make_oracle(LlamaConfig).load("nf4")


def test_a_broken_weight_is_refused_by_name(make_oracle):
    oracle = make_oracle(LlamaConfig)
    path = oracle.folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.1.self_attn.k_proj.weight"][3, 4] = torch.nan
    save_file(tensors, path)
    with pytest.raises(UnsupportedModelError, match=r"model\.layers\.1\.self_attn\.k_proj.* no numbers"):
        oracle.load("int4")


def test_a_form_that_the_device_cannot_run_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match=r"int8 runs on the CPU only, not on cuda.*int8-weight"):
        load_model("/no/such/model", device=torch.device("cuda"), dtype=torch.bfloat16, quantization="int8")


def test_the_log_says_what_was_rounded_and_what_has_no_kernel(make_oracle, caplog):
    caplog.set_level(logging.INFO)
    oracle = make_oracle(LlamaConfig)
    oracle.load("fp8")
    assert "21 linears rounded to fp8, 0 found rounded" in caplog.text
    assert "no kernel for fp8 with torch.float32 on cpu" in caplog.text
    assert "every step waits for that, even if only one linear" in caplog.text
    caplog.clear()
    oracle.load("auto")
    assert "no kernel" not in caplog.text


def test_linears_that_cannot_be_stacked_are_served_side_by_side(make_oracle, monkeypatch):
    oracle = make_oracle(LlamaConfig)
    exact = oracle.load()

    forms = {"q_proj": "int4", "k_proj": "int4-32"}

    class Reader:
        """As of a checkpoint that rounded q_proj and k_proj in different ways, and v_proj not at all."""

        name = "a mixture"

        def __init__(self, checkpoint):
            self.checkpoint = checkpoint

        def form_of(self, module):
            return forms.get(module.rpartition(".")[2])

        def tensors(self, module, shape):
            return {f"{module}.weight": shape} if self.form_of(module) else {}

        def unused(self, module):
            return {}

        def read(self, module, shape):
            return round_weight(self.checkpoint.tensor(f"{module}.weight"), self.form_of(module))

    monkeypatch.setattr("loraplex_server.models.linear_source.weight_reader", lambda _, checkpoint: Reader(checkpoint))
    mixed = oracle.load("auto")
    assert mixed.quantization == "a mixture"
    assert isinstance(mixed.layers[0].attention.qkv.weight, SideBySide)
    for site in exact.sites:
        form = forms.get(site.name.rpartition(".")[2])
        weight = exact.site_weight(site.index)
        expected = weight if form is None else round_weight(weight, form).dequantized()
        torch.testing.assert_close(mixed.site_weight(site.index), expected, rtol=1e-6, atol=1e-7)


def test_a_form_without_a_kernel_is_served_all_the_same(make_oracle, paged, sequences):
    oracle = make_oracle(LlamaConfig)
    decoder = oracle.load("int8-weight", dtype=torch.float16)
    assert isinstance(decoder.layers[0].mlp.down.weight, StoredWeight)
    logits = torch.cat(paged(decoder, sequences).step([len(sequence) for sequence in sequences]))
    assert torch.isfinite(logits).all()
