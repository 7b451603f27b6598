"""int8 linears: near the float model, and exactly the model of its own rounded weights but for the activations."""

from __future__ import annotations

import pytest
import torch
from transformers import Gemma2Config, Phi3Config, Qwen2Config


@pytest.fixture(params=[Qwen2Config, Gemma2Config, Phi3Config], ids=["qwen2", "gemma2", "phi3"])
def oracle(request, make_oracle):
    return make_oracle(request.param)


@torch.no_grad()
def _round_as_served(oracle, decoder):
    modules = dict(oracle.model.named_modules())
    for site in decoder.sites:
        modules[site.name].weight.copy_(decoder.site_weight(site.index))


def test_the_logits_are_near_those_of_the_dequantized_weights(oracle, paged, sequences):
    decoder = oracle.load("int8", head_quantization="none")
    ours = torch.cat(paged(decoder, sequences).step([len(sequence) for sequence in sequences]))
    _round_as_served(oracle, decoder)
    expected = torch.cat([oracle.logits(sequence) for sequence in sequences])
    # What is left is the rounding of the activations: 1/254 of a row's largest element at most, at each linear.
    assert (ours - expected).abs().mean() < 0.05 * expected.std()
    assert (ours.argmax(-1) == expected.argmax(-1)).float().mean() >= 0.9


def test_the_served_weight_is_the_checkpoints_but_for_its_rounding(oracle):
    exact, rounded = oracle.load(), oracle.load("int8")
    for site in exact.sites[:-1]:
        weight, served = exact.site_weight(site.index), rounded.site_weight(site.index)
        step = weight.abs().amax(1, keepdim=True) / 127
        assert ((weight - served).abs() <= 0.5 * step + 1e-6).all()
        assert not torch.equal(weight, served)


def test_an_unknown_form_is_refused_by_the_settings_name(oracle):
    with pytest.raises(ValueError, match=r"quantization must be one of auto, none, int4, .*, fp8, not 'int3'"):
        oracle.load("int3")
