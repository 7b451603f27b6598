from __future__ import annotations

import peft
import pytest
import torch
from peft import PeftModel
from support.peft_files import make_base
from support.peft_methods import COMMON, Tune, Tuned, deltas

V1 = "model.layers.1.self_attn.v_proj"
Q0 = "model.layers.0.self_attn.q_proj"
KEPT = {V1: [True, False, True, True, False], Q0: [False] * 5}


def pruned(tune: Tune, alpha: int) -> Tuned:
    """Two linears lose ranks, as PEFT's allocator would have it."""
    tuned = tune(peft.AdaLoraConfig(**COMMON, init_r=5, lora_alpha=alpha, total_step=10))
    tuned.peft.peft_config["default"].rank_pattern = {f"{site}.lora_E.default": mask for site, mask in KEPT.items()}
    tuned.peft.save_pretrained(tuned.folder)
    return tuned


@pytest.mark.parametrize("alpha", [7, 0])
def test_pruned_ranks_are_as_peft_loads_them(tune: Tune, alpha: int) -> None:
    tuned = pruned(tune, alpha)
    loaded = PeftModel.from_pretrained(make_base("llama").model, tuned.folder).eval()
    found = deltas(tuned.load(), tuned.base)
    assert Q0 not in found  # nothing of it is left
    assert len(found) == 8
    for site, delta in found.items():
        expected = loaded.get_submodule(f"base_model.model.{site}").get_delta_weight("default")
        torch.testing.assert_close(delta.float(), expected, atol=1e-6, rtol=1e-5)


def test_a_pattern_of_the_wrong_length_is_refused(tune: Tune) -> None:
    tuned = pruned(tune, 7)
    tuned.edit_config(rank_pattern={f"{V1}.lora_E": [True] * 4})
    assert f"'rank_pattern' has 4 ranks for {V1}, 'init_r' is 5" in tuned.refusal()


@pytest.mark.parametrize("pattern", [[1], {"a.lora_E": [1, 0]}, {"a.lora_E": True}, "all"])
def test_a_pattern_of_another_kind_is_refused(tune: Tune, pattern: object) -> None:
    tuned = pruned(tune, 7)
    tuned.edit_config(rank_pattern=pattern)
    assert "'rank_pattern' must be an object of lists of true and false" in tuned.refusal()


def test_a_pattern_for_a_linear_that_is_not_selected_is_refused(tune: Tune) -> None:
    tuned = pruned(tune, 7)
    tuned.edit_config(rank_pattern={"model.layers.9.self_attn.q_proj.lora_E": [True]})
    assert "for linears that are not selected: model.layers.9.self_attn.q_proj" in tuned.refusal()


def test_nothing_left_is_refused(tune: Tune) -> None:
    tuned = tune(peft.AdaLoraConfig(task_type="CAUSAL_LM", target_modules=[Q0], init_r=5, total_step=10))
    tuned.peft.peft_config["default"].rank_pattern = {f"{Q0}.lora_E.default": [False] * 5}
    tuned.peft.save_pretrained(tuned.folder)
    assert tuned.refusal() == "it changes nothing: every rank was pruned away"
