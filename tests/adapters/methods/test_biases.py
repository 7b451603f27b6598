from __future__ import annotations

import peft
import pytest
import torch
from support.peft_methods import COMMON, PREFIX, Tune

HRA = {**COMMON, "r": 2, "target_modules": ["v_proj", "down_proj"]}


@pytest.mark.parametrize("bias", ["all", "hra_only"])
def test_trained_biases_are_moved_to_pefts(tune: Tune, bias: str) -> None:
    tuned = tune(peft.HRAConfig(**HRA, bias=bias), "qwen2")
    loaded = tuned.load()
    names = {tuned.base.sites[index].name for index in loaded.terms.bias}
    kinds = {name.rpartition(".")[2] for name in names}
    assert kinds == ({"q_proj", "k_proj", "v_proj"} if bias == "all" else {"v_proj"})
    for index, moved in loaded.terms.bias.items():
        module = tuned.layer(tuned.base.sites[index].name)
        trained = getattr(module, "base_layer", module).bias.data
        torch.testing.assert_close(tuned.base.site_bias(index) + moved, trained)
        assert trained.abs().max() > 0.1
    assert loaded.traits.terms


def test_a_base_without_biases_has_none_to_train(tune: Tune) -> None:
    assert tune(peft.HRAConfig(**HRA, bias="all")).load().terms.bias == {}


def test_a_bias_that_is_missing_is_refused(tune: Tune) -> None:
    tuned = tune(peft.HRAConfig(**HRA, bias="hra_only"), "qwen2")
    name = f"{PREFIX}model.layers.1.self_attn.v_proj.base_layer.bias"
    tuned.edit_tensors(lambda tensors: tensors.pop(name))
    assert tuned.refusal() == f"1 tensors that the config asks for are not in the file: {name}"


def test_biases_that_the_config_does_not_name_are_refused(tune: Tune) -> None:
    tuned = tune(peft.HRAConfig(**HRA, bias="hra_only"), "qwen2")
    tuned.edit_config(bias="none")
    assert "3 tensors bind to nothing, biases that the config does not say were trained" in tuned.refusal()


def test_an_unknown_choice_is_refused(tune: Tune) -> None:
    tuned = tune(peft.HRAConfig(**HRA))
    tuned.edit_config(bias="some")
    assert "'bias' is 'some'" in tuned.refusal()
