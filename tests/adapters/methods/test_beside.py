"""What PEFT saves beside any method's own tensors."""

from __future__ import annotations

import peft
import pytest
import torch
from support.peft_methods import COMMON, PREFIX, Tune, deltas

K = {**COMMON, "target_modules": ["k_proj", "down_proj"]}
KINDS = {
    "vera": lambda **more: peft.VeraConfig(**K, r=4, **more),
    "loha": lambda **more: peft.LoHaConfig(**K, r=2, **more),
    "ia3": lambda **more: peft.IA3Config(**K, feedforward_modules=["down_proj"], **more),
    "oft": lambda **more: peft.OFTConfig(**K, oft_block_size=4, **more),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_modules_saved_whole_are_terms(tune: Tune, kind: str) -> None:
    tuned = tune(KINDS[kind](modules_to_save=["lm_head", "norm", "v_proj"]), "llama")
    loaded = tuned.load()
    terms, model = loaded.terms, tuned.peft.base_model.model
    head = tuned.base.shape.head.index
    torch.testing.assert_close(terms.weight[head], model.lm_head.modules_to_save["default"].weight.data)
    assert len(terms.weight) == 4  # lm_head, and v_proj of three layers
    assert len(terms.norm) == 7  # all whose names end so
    torch.testing.assert_close(terms.norm["model.norm"], model.model.norm.modules_to_save["default"].weight.data)
    assert loaded.traits.head
    assert loaded.traits.terms
    for site, delta in deltas(loaded, tuned.base).items():
        torch.testing.assert_close(delta.float(), tuned.delta(site), atol=1e-6, rtol=1e-5)


def test_a_method_stays_off_modules_that_are_saved_whole(tune: Tune) -> None:
    tuned = tune(KINDS["loha"](modules_to_save=["k_proj"]))
    found = deltas(tuned.load(), tuned.base)
    assert {name.rpartition(".")[2] for name in found} == {"down_proj"}


def test_saved_biases_and_trained_ones_go_together(tune: Tune) -> None:
    tuned = tune(peft.HRAConfig(**K, r=2, bias="all", modules_to_save=["q_proj"]), "qwen2")
    terms = tuned.load().terms
    for site in ("q_proj", "k_proj", "v_proj"):
        index = tuned.base.site(f"model.layers.1.self_attn.{site}").index
        module = tuned.layer(tuned.base.sites[index].name)
        module = getattr(module, "base_layer", module)
        module = module.modules_to_save["default"] if site == "q_proj" else module
        torch.testing.assert_close(tuned.base.site_bias(index) + terms.bias[index], module.bias.data)


def test_ln_tuning_with_a_saved_head(tune: Tune) -> None:
    config = peft.LNTuningConfig(task_type="CAUSAL_LM", target_modules=["norm"], modules_to_save=["lm_head"])
    terms = tune(config).load().terms
    assert set(terms.norm) == {"model.norm"}
    assert len(terms.weight) == 1


def test_a_copy_of_the_bases_own_head_is_left_out(tune: Tune) -> None:
    tuned = tune(peft.HRAConfig(**COMMON | {"target_modules": ["k_proj", "lm_head"]}, r=2))
    loaded = tuned.load()
    assert loaded.terms.weight == {}
    torch.testing.assert_close(deltas(loaded, tuned.base)["lm_head"].float(), tuned.delta("lm_head"), atol=1e-6, rtol=0)


def test_a_copy_of_another_head_is_refused(tune: Tune) -> None:
    tuned = tune(peft.HRAConfig(**COMMON | {"target_modules": ["k_proj", "lm_head"]}, r=2))
    tuned.edit_tensors(lambda tensors: tensors[f"{PREFIX}lm_head.base_layer.weight"].add_(1))
    assert f"{PREFIX}lm_head.base_layer.weight is not this model's own weight" in tuned.refusal()


def test_a_saved_module_that_is_missing_is_refused(tune: Tune) -> None:
    tuned = tune(KINDS["loha"](modules_to_save=["lm_head"]))
    tuned.edit_tensors(lambda tensors: tensors.pop(f"{PREFIX}lm_head.weight"))
    assert "modules of modules_to_save have no weight in the file: lm_head" in tuned.refusal()


def test_whole_weights_that_nothing_names_are_refused(tune: Tune) -> None:
    tuned = tune(KINDS["loha"]())
    tuned.edit_tensors(
        lambda tensors: tensors.update({f"{PREFIX}model.layers.0.mlp.up_proj.weight": torch.ones(56, 32)})
    )
    assert "modules_to_save does not name" in tuned.refusal()
