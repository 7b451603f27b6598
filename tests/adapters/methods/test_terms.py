"""What the loaded terms make of a linear is what PEFT's own layer makes of it."""

from __future__ import annotations

import peft
import pytest
import torch
from support.peft_methods import COMMON, Tune, Tuned
from torch import Tensor

SITE = "model.layers.1.self_attn.v_proj"
DOWN = "model.layers.2.mlp.down_proj"


def inputs(tuned: Tuned, site: str) -> Tensor:
    return torch.randn(7, tuned.layer(site).base_layer.in_features, generator=torch.Generator().manual_seed(2))


def expected(tuned: Tuned, site: str) -> Tensor:
    with torch.no_grad():
        return tuned.layer(site)(inputs(tuned, site))


def base_output(tuned: Tuned, site: str, x: Tensor) -> Tensor:
    with torch.no_grad():
        return tuned.layer(site).base_layer(x)


def index(tuned: Tuned, site: str) -> int:
    return tuned.base.site(site).index


@pytest.mark.parametrize("feedforward", [["down_proj"], [DOWN], "proj", r".*\.2\.mlp\.down_proj"])
def test_ia3_scales_inputs_of_feedforward_and_outputs_of_the_rest(tune: Tune, feedforward: object) -> None:
    config = peft.IA3Config(task_type="CAUSAL_LM", target_modules=["v_proj", "down_proj"])
    config.feedforward_modules = ["down_proj"] if feedforward == "proj" else feedforward
    tuned = tune(config, "qwen2", spread=1.0)  # whose v_proj has a bias
    loaded = tuned.load()
    assert loaded.layout.placements == ()
    assert loaded.traits.terms
    scaled = base_output(tuned, SITE, inputs(tuned, SITE)) * loaded.terms.output_scale[index(tuned, SITE)]
    torch.testing.assert_close(scaled, expected(tuned, SITE))
    x = inputs(tuned, DOWN) * loaded.terms.input_scale[index(tuned, DOWN)]
    torch.testing.assert_close(base_output(tuned, DOWN, x), expected(tuned, DOWN))


def test_ia3_takes_a_name_for_the_end_of_another_as_peft_does(tune: Tune) -> None:
    config = peft.IA3Config(task_type="CAUSAL_LM", target_modules=r".*\.v_proj", feedforward_modules=["_proj"])
    tuned = tune(config)
    assert tuned.layer(SITE).is_feedforward
    assert index(tuned, SITE) in tuned.load().terms.input_scale


def test_ia3_without_feedforward_modules_is_refused(tune: Tune) -> None:
    tuned = tune(peft.IA3Config(task_type="CAUSAL_LM", target_modules=["v_proj"], feedforward_modules=[]))
    tuned.edit_config(feedforward_modules=None)
    assert "'feedforward_modules' is missing" in tuned.refusal()


@pytest.mark.parametrize("family", ["llama", "qwen2"])  # without a bias of its own, and with one
def test_beft_adds_a_bias(tune: Tune, family: str) -> None:
    tuned = tune(peft.BeftConfig(**COMMON), family)
    terms = tuned.load().terms
    for site in (SITE, DOWN):
        moved = base_output(tuned, site, inputs(tuned, site)) + terms.bias[index(tuned, site)]
        torch.testing.assert_close(moved, expected(tuned, site))


OFT = {
    "blocks": {"oft_block_size": 4},
    "count": {"r": 4, "oft_block_size": 0},
    "adjusted": {"oft_block_size": 6},
    "exact": {"oft_block_size": 8, "use_cayley_neumann": False},
    "shared": {"oft_block_size": 8, "block_share": True},
    "constrained": {"oft_block_size": 8, "coft": True, "eps": 0.5},
    "terms": {"oft_block_size": 8, "num_cayley_neumann_terms": 7},
}


@pytest.mark.parametrize("case", sorted(OFT))
def test_oft_rotates_blocks_of_the_input(tune: Tune, case: str) -> None:
    tuned = tune(peft.OFTConfig(**COMMON, **OFT[case]), "qwen2", spread=0.1)
    terms = tuned.load().terms
    for site in (SITE, DOWN):
        rotation = terms.rotation[index(tuned, site)]
        blocks, size, _ = rotation.shape
        x = inputs(tuned, site).view(-1, blocks, 1, size) @ rotation
        assert not torch.allclose(x.flatten(1), inputs(tuned, site), atol=1e-2)
        torch.testing.assert_close(base_output(tuned, site, x.flatten(1)), expected(tuned, site), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_version": "0.17.1"}, "whose Cayley-Neumann series was another"),
        ({"peft_version": None}, "whose Cayley-Neumann series was another"),
        ({"r": 2}, "exactly one of 'r' and 'oft_block_size'"),
        ({"num_cayley_neumann_terms": 10**9}, "is more than 1000"),
        ({"oft_block_size": "4"}, "'oft_block_size' must be a whole number"),
    ],
)
def test_oft_that_would_be_read_otherwise_is_refused(tune: Tune, changes: dict, words: str) -> None:
    tuned = tune(peft.OFTConfig(**COMMON, oft_block_size=4))
    tuned.edit_config(**changes)
    assert words in tuned.refusal()


def test_oft_of_an_old_peft_without_the_series_is_the_exact_transform(tune: Tune) -> None:
    tuned = tune(peft.OFTConfig(**COMMON, oft_block_size=4, use_cayley_neumann=False))
    tuned.edit_config(peft_version=None)
    assert tuned.load().terms.rotation


def test_oft_in_blocks_as_large_as_a_weight_is_refused(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraplex_adapters.methods.planned.LARGEST_RANK", 8)
    assert (
        "is rotated in blocks of 16, of which at most 8" in tune(peft.OFTConfig(**COMMON, oft_block_size=16)).refusal()
    )
