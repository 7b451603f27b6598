"""Norms and rows of the vocabulary that an adapter has for itself."""

from __future__ import annotations

import peft
import pytest
import torch
from support.peft_methods import PREFIX, Tune

IDS = [70, 3, 41]


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_ln_tuning_has_its_own_norms(tune: Tune, family: str) -> None:
    tuned = tune(peft.LNTuningConfig(task_type="CAUSAL_LM"), family, spread=1.0)
    norms = tuned.load().terms.norm
    layers = {name: module for name, module in tuned.peft.named_modules() if hasattr(module, "ln_tuning_layers")}
    assert {PREFIX + name for name in norms} == set(layers)
    for name, values in norms.items():
        torch.testing.assert_close(values, layers[PREFIX + name].ln_tuning_layers["default"].weight.data)


def test_ln_tuning_of_some_norms(tune: Tune) -> None:
    config = peft.LNTuningConfig(task_type="CAUSAL_LM", target_modules=r".*layers\.1\..*layernorm")
    norms = tune(config).load().terms.norm
    assert sorted(norms) == [f"model.layers.1.{kind}_layernorm" for kind in ("input", "post_attention")]


def test_ln_tuning_of_a_linear_is_refused(tune: Tune) -> None:
    tuned = tune(peft.LNTuningConfig(task_type="CAUSAL_LM", target_modules=["norm", "k_proj"]))
    assert "select more than norms, as whole copies: model.layers.0.self_attn.k_proj" in tuned.refusal()


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_trained_tokens_are_sorted_by_id(tune: Tune, family: str) -> None:
    tuned = tune(peft.TrainableTokensConfig(task_type="CAUSAL_LM", token_indices=IDS), family)
    loaded = tuned.load()
    delta = tuned.peft.get_input_embeddings().trainable_tokens_delta["default"].data
    tokens = loaded.terms.input_tokens
    assert tokens.ids.tolist() == sorted(IDS)
    torch.testing.assert_close(tokens.rows, delta[[IDS.index(token) for token in sorted(IDS)]])
    assert loaded.traits.head == tuned.base.shape.tied
    assert (loaded.terms.output_tokens is not None) == tuned.base.shape.tied


def test_tied_tables_change_going_in_and_out(tune: Tune) -> None:
    tuned = tune(peft.TrainableTokensConfig(task_type="CAUSAL_LM", token_indices=IDS), "qwen2")
    terms = tuned.load().terms
    torch.testing.assert_close(terms.input_tokens.rows, terms.output_tokens.rows)
    tuned.edit_tensors(lambda tensors: tensors.pop(f"{PREFIX}lm_head.trainable_tokens_delta"))
    torch.testing.assert_close(tuned.load().terms.output_tokens.rows, terms.output_tokens.rows)


def test_tied_tables_that_differ_in_the_file_are_refused(tune: Tune) -> None:
    tuned = tune(peft.TrainableTokensConfig(task_type="CAUSAL_LM", token_indices=IDS), "qwen2")
    tuned.edit_tensors(lambda tensors: tensors[f"{PREFIX}lm_head.trainable_tokens_delta"].add_(1))
    assert "differ, but PEFT loads both into one weight" in tuned.refusal()


def test_an_untied_head_has_rows_of_its_own(tune: Tune) -> None:
    config = peft.TrainableTokensConfig(
        task_type="CAUSAL_LM", token_indices=IDS, target_modules=["embed_tokens", "lm_head"]
    )
    tuned = tune(config)
    terms = tuned.load().terms
    delta = tuned.peft.get_output_embeddings().trainable_tokens_delta["default"].data
    torch.testing.assert_close(terms.output_tokens.rows, delta[[IDS.index(token) for token in sorted(IDS)]])
    assert not torch.equal(terms.input_tokens.rows, terms.output_tokens.rows)


@pytest.mark.parametrize(
    ("ids", "words"),
    [([3, 3, 41], "names a token twice"), ([3, 41, 96], "but model.embed_tokens has 96 rows"), ([], "are missing")],
)
def test_bad_ids_are_refused(tune: Tune, ids: list[int], words: str) -> None:
    tuned = tune(peft.TrainableTokensConfig(task_type="CAUSAL_LM", token_indices=IDS))
    tuned.edit_config(token_indices=ids)
    assert words in tuned.refusal()


NAME = f"{PREFIX}model.embed_tokens.trainable_tokens_delta"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda tensors: tensors.pop(NAME), "have no trainable_tokens_delta in the file: model.embed_tokens"),
        (lambda tensors: tensors.update({NAME: torch.ones(2, 32)}), f"{NAME} has shape [2, 32], expected [3, 32]"),
        (lambda tensors: tensors.update({NAME: torch.ones(3, 32).int()}), f"{NAME} is I32"),
        (lambda tensors: tensors[NAME].view(-1)[5].fill_(float("nan")), f"{NAME} holds an infinity or NaN"),
        (lambda tensors: tensors.update({f"{PREFIX}model.norm.weight": torch.ones(32)}), "bind to nothing"),
    ],
    ids=["missing", "shape", "integers", "nan", "extra"],
)
def test_damaged_rows_are_refused_by_the_files_own_names(tune: Tune, edit: object, words: str) -> None:
    tuned = tune(peft.TrainableTokensConfig(task_type="CAUSAL_LM", token_indices=IDS))
    tuned.edit_tensors(edit)
    assert words in tuned.refusal()
