"""What the loaded A and B come to is what PEFT's own forward adds, for every method that reduces to low rank."""

from __future__ import annotations

from dataclasses import replace

import peft
import pytest
import torch
from support.peft_methods import COMMON, LOW_RANK, Tune, deltas

Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize("case", sorted(LOW_RANK))
def test_the_loaded_update_is_pefts(tune: Tune, case: str) -> None:
    tuned = tune(LOW_RANK[case]())
    found = deltas(tuned.load(), tuned.base)
    assert len(found) == 9  # three linears of three layers
    for site, delta in found.items():
        expected = tuned.delta(site)
        assert expected.abs().max() > 1e-5
        torch.testing.assert_close(delta.float(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("case", ["hra", "deft"])
def test_an_update_from_the_base_follows_the_weight_that_is_served(tune: Tune, case: str) -> None:
    tuned = tune(LOW_RANK[case]())
    halved = replace(tuned, base=replace(tuned.base, served=lambda weight: weight / 2))
    plain, found = deltas(tuned.load(), tuned.base), deltas(halved.load(), tuned.base)
    site = "model.layers.1.mlp.down_proj"
    assert not torch.allclose(plain[site], found[site], atol=1e-4)


@pytest.mark.parametrize("family", ["qwen2", "gemma3"])
def test_selection_follows_the_config(tune: Tune, family: str) -> None:
    config = peft.LoHaConfig(
        task_type="CAUSAL_LM",
        target_modules="all-linear",
        exclude_modules=["o_proj"],
        layers_to_transform=None,
        r=2,
    )
    tuned = tune(config, family)
    found = deltas(tuned.load(), tuned.base)
    assert sorted(found) == sorted(
        site.name for site in tuned.base.sites if not site.name.endswith(("o_proj", "lm_head"))
    )


def test_some_layers_only(tune: Tune) -> None:
    tuned = tune(peft.HRAConfig(**COMMON, r=2, layers_to_transform=[1]))
    assert all(".layers.1." in site for site in deltas(tuned.load(), tuned.base))


def test_the_rank_of_a_product_is_the_product_of_the_ranks(tune: Tune) -> None:
    loaded = tune(LOW_RANK["loha"]()).load()
    assert {placement.shape.rank for placement in loaded.layout.placements} == {9}
    assert loaded.traits.terms is False


def test_an_update_wider_than_its_weight_is_multiplied_out(tune: Tune) -> None:
    tuned = tune(LOW_RANK["vera-wide"]())
    ranks = {tuned.base.sites[p.shape.site].name.split(".")[-1]: p.shape.rank for p in tuned.load().layout.placements}
    assert ranks == {"q_proj": 32, "v_proj": 16, "down_proj": 32}


def test_a_rank_beyond_all_sense_is_refused_with_the_figure(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraplex_adapters.methods.planned.LARGEST_RANK", 8)
    message = tune(LOW_RANK["loha"]()).refusal()
    assert "model.layers.0.self_attn.q_proj has rank 9" in message
    assert "save_as_lora" in message


def test_the_head_is_a_site_like_any_other(tune: Tune) -> None:
    tuned = tune(peft.HRAConfig(task_type="CAUSAL_LM", target_modules=r"lm_head|.*\.q_proj", r=2))
    tuned.edit_tensors(lambda tensors: tensors.pop("base_model.model.lm_head.base_layer.weight", None))
    loaded = tuned.load()
    assert loaded.traits.head
    torch.testing.assert_close(deltas(loaded, tuned.base)["lm_head"].float(), tuned.delta("lm_head"), atol=1e-6, rtol=0)
