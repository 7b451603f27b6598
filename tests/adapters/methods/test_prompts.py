"""Virtual tokens: what PEFT puts before the prompt, as vectors or as keys and values."""

from __future__ import annotations

import peft
import pytest
import torch
from peft import PeftModel
from support.peft_files import make_base
from support.peft_methods import Tune, Tuned

COMMON = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 4}
CPT = {"cpt_token_ids": [3, 4, 5, 6], "cpt_mask": [1] * 4, "cpt_tokens_type_mask": [1, 2, 3, 4]}
VECTORS = {
    "prompt": lambda: peft.PromptTuningConfig(**COMMON),
    "p-tuning-mlp": lambda: peft.PromptEncoderConfig(**COMMON, encoder_hidden_size=9),
    "p-tuning-lstm": lambda: peft.PromptEncoderConfig(**COMMON, encoder_reparameterization_type="LSTM"),
    "cpt": lambda: peft.CPTConfig(task_type="CAUSAL_LM", **CPT),
    "multitask": lambda: peft.MultitaskPromptTuningConfig(**COMMON, num_ranks=2, num_tasks=1),
}
PREFIXES = {
    "prefix": lambda: peft.PrefixTuningConfig(**COMMON),
    "projected": lambda: peft.PrefixTuningConfig(**COMMON, prefix_projection=True, encoder_hidden_size=9),
    "cartridge": lambda: peft.CartridgeConfig(**COMMON, num_frozen_tokens=1),
}


def reloaded(tuned: Tuned, family: str) -> PeftModel:
    return PeftModel.from_pretrained(make_base(family).model, tuned.folder).eval()


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("case", sorted(VECTORS))
def test_vectors_are_those_that_peft_predicts_with(tune: Tune, case: str, family: str) -> None:
    tuned = tune(VECTORS[case](), family)
    loaded = tuned.load()
    expected = reloaded(tuned, family).get_prompt(1, task_ids=torch.zeros(1, dtype=torch.long))
    torch.testing.assert_close(loaded.terms.prompt, expected[0].detach())
    assert loaded.traits.virtual_tokens == 4
    assert loaded.traits.terms


@pytest.mark.parametrize("family", ["llama", "gemma3"])  # grouped queries; heads wider than their share of H
@pytest.mark.parametrize("case", sorted(PREFIXES))
def test_keys_and_values_are_those_of_pefts_cache(tune: Tune, case: str, family: str) -> None:
    tuned = tune(PREFIXES[case](), family)
    loaded = tuned.load()
    cache = reloaded(tuned, family).get_prompt(1)
    assert loaded.terms.prefix.shape == (3, 2, 2, 4, 8)
    for layer, (keys, values) in enumerate(loaded.terms.prefix):
        torch.testing.assert_close(keys, cache.layers[layer].keys[0].detach())
        torch.testing.assert_close(values, cache.layers[layer].values[0].detach())
    assert loaded.traits.virtual_tokens == 4


def test_a_prompt_for_several_tasks_is_refused(tune: Tune) -> None:
    tuned = tune(peft.MultitaskPromptTuningConfig(**COMMON, num_tasks=3))
    assert "MULTITASK_PROMPT_TUNING with 'num_tasks' 3 is not served" in tuned.refusal()


@pytest.mark.parametrize(
    ("case", "changes", "words"),
    [
        ("prompt", {"num_virtual_tokens": 5}, "has shape [4, 32], expected [5, 32]"),
        ("prompt", {"num_virtual_tokens": None}, "'num_virtual_tokens' must be a whole number"),
        ("prompt", {"num_transformer_submodules": 2}, "for an encoder and a decoder"),
        ("prefix", {"num_attention_heads": 4}, "'num_attention_heads' is 4, and this model's keys and values need 2"),
        ("prefix", {"num_layers": 2}, "'num_layers' is 2, and this model's keys and values need 3"),
        ("prefix", {"modules_to_save": ["lm_head"]}, "'modules_to_save' is set"),
    ],
)
def test_a_prompt_of_another_shape_is_refused(tune: Tune, case: str, changes: dict, words: str) -> None:
    tuned = tune((VECTORS | PREFIXES)[case]())
    tuned.edit_config(**changes)
    assert words in tuned.refusal()
