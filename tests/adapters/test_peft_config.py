from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from peft import LoraConfig as PeftConfig

from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.peft_config import LONGEST, parse_config
from loraplex_adapters.unserved import HARMLESS, SERVED, UNSERVED

PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}


def parse(**values: Any):
    return parse_config("adapter", json.dumps(PLAIN | values).encode())


def reasons(**values: Any) -> tuple[str, ...]:
    with pytest.raises(AdapterRefusedError) as refused:
        parse(**values)
    assert refused.value.name == "adapter"
    assert all(reason in str(refused.value) for reason in refused.value.reasons)
    return refused.value.reasons


def test_a_file_as_peft_writes_it_is_read(tmp_path) -> None:
    PeftConfig(
        r=4, lora_alpha=12, target_modules=["q_proj"], lora_dropout=0.1, base_model_name_or_path="x/y"
    ).save_pretrained(tmp_path)
    config = parse_config("adapter", (tmp_path / "adapter_config.json").read_bytes())
    assert (config.r, config.lora_alpha, config.target_modules, config.base_model) == (4, 12.0, ("q_proj",), "x/y")
    assert (config.use_dora, config.use_rslora, config.all_linear) == (False, False, False)


def test_every_key_that_peft_knows_has_its_place() -> None:
    known = {field.name for field in fields(PeftConfig)}
    assert known <= SERVED | HARMLESS.keys() | UNSERVED.keys()
    assert not SERVED & HARMLESS.keys()
    assert not (SERVED | HARMLESS.keys()) & UNSERVED.keys()


def test_missing_keys_have_pefts_own_defaults() -> None:
    config = parse_config("adapter", b'{"peft_type": "LORA", "target_modules": ["q_proj"]}')
    assert (config.r, config.lora_alpha) == (PeftConfig().r, PeftConfig().lora_alpha)


def test_another_method_is_no_lora() -> None:
    (reason,) = reasons(peft_type="LOHA")
    assert reason == "peft_type 'LOHA' is not LoRA"


@pytest.mark.parametrize("key", UNSERVED)
def test_what_is_not_served_is_refused_by_its_name(key: str) -> None:
    (reason,) = reasons(**{key: {"something": 1}})
    assert reason == f"'{key}' is set: {UNSERVED[key]}"


@pytest.mark.parametrize("key", UNSERVED)
@pytest.mark.parametrize("off", [None, False, [], {}])
def test_what_is_not_served_may_be_off(key: str, off: object) -> None:
    parse(**{key: off})


@pytest.mark.parametrize("key", HARMLESS)
def test_what_does_not_reach_the_outputs_may_be_anything(key: str) -> None:
    assert parse(**{key: {"something": 1}}) == parse()


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_16", "olora", "OLoRA", "corda", "lora_ga"])
def test_an_init_that_changes_the_base_is_refused_with_pefts_way_out(init: str) -> None:
    (reason,) = reasons(init_lora_weights=init)
    assert init in reason
    assert "path_initial_model_for_weight_conversion" in reason


def test_loftq_is_refused() -> None:
    assert "quantized copy" in reasons(init_lora_weights="loftq")[0]


def test_an_unknown_init_is_refused() -> None:
    assert "'brand_new'" in reasons(init_lora_weights="brand_new")[0]


@pytest.mark.parametrize("init", [True, False, None, "gaussian", "eva", "orthogonal", "mica"])
def test_an_init_that_leaves_the_base_alone_is_read(init: object) -> None:
    assert parse(init_lora_weights=init) == parse()


@pytest.mark.parametrize("bias", ["none", "all", "lora_only"])
def test_the_biases_that_were_trained_are_read(bias: str) -> None:
    assert parse(bias=bias).bias == bias
    assert parse().bias == "none"


@pytest.mark.parametrize("bias", ["some", None, 3, "vera_only"])
def test_biases_that_peft_does_not_know_are_refused(bias: object) -> None:
    assert reasons(bias=bias)[0].startswith("'bias' must be one of 'none', 'all', 'lora_only', found ")


def test_what_was_trained_beside_the_linears_is_read() -> None:
    config = parse(modules_to_save=["norm"], trainable_token_indices=[4, 2], alora_invocation_tokens=[7, 7])
    assert (config.modules_to_save, config.trainable_tokens, config.invocation) == (("norm",), (4, 2), (7, 7))
    assert parse(trainable_token_indices={"lm_head": [3]}).trainable_tokens == {"lm_head": (3,)}
    assert parse(ensure_weight_tying=True).tie_weights
    off = parse(modules_to_save=None, trainable_token_indices=None, alora_invocation_tokens=None)
    assert off == parse()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"lora_bias": True, "use_dora": True}, "'lora_bias' cannot be used with 'use_dora'"),
        ({"alora_invocation_tokens": [3], "use_dora": True}, "'alora_invocation_tokens' cannot be used with"),
        ({"alora_invocation_tokens": []}, "'alora_invocation_tokens' is empty"),
        ({"modules_to_save": ["(norm"]}, "'modules_to_save' '(norm' is not a regular expression"),
    ],
)
def test_what_peft_cannot_combine_is_refused(options: dict[str, Any], reason: str) -> None:
    assert reasons(**options)[0].startswith(reason)


def test_a_key_of_a_newer_peft_is_refused_when_it_is_on() -> None:
    (reason,) = reasons(hyper_lora={"depth": 3})
    assert "'hyper_lora' is not known" in reason
    assert parse(hyper_lora=None, ultra=False, mega=[]) == parse()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("r", 0, "a whole number above zero"),
        ("r", -3, "a whole number above zero"),
        ("r", 10**400, "a whole number above zero"),
        ("r", 4.0, "a whole number above zero"),
        ("r", True, "a whole number above zero"),
        ("r", None, "a whole number above zero"),
        ("lora_alpha", "16", "a finite number"),
        ("lora_alpha", 10**400, "a finite number"),
        ("lora_alpha", None, "a finite number"),
        ("use_rslora", "yes", "true or false"),
        ("use_dora", 1, "true or false"),
        ("target_modules", ["q_proj", 3], "a string or a list of strings"),
        ("target_modules", {"q_proj": 1}, "a string or a list of strings"),
        ("exclude_modules", 5, "a string or a list of strings"),
        ("modules_to_save", "norm", "a list of names"),
        ("modules_to_save", [""], "a list of names"),
        ("trainable_token_indices", [3, 3], "a list of different token ids, or an object of such lists"),
        ("trainable_token_indices", {"lm_head": [-1]}, "a list of different token ids, or an object of such lists"),
        ("trainable_token_indices", "3", "a list of different token ids, or an object of such lists"),
        ("alora_invocation_tokens", [True], "a list of token ids"),
        ("alora_invocation_tokens", "<tool>", "a list of token ids"),
        ("layers_to_transform", [1, "2"], "a whole number or a list of them"),
        ("layers_to_transform", 1.5, "a whole number or a list of them"),
        ("rank_pattern", [4], "an object"),
        ("rank_pattern", {"q_proj": 0}, "an object of whole numbers above zero"),
        ("alpha_pattern", {"q_proj": "8"}, "an object of finite numbers"),
        ("base_model_name_or_path", 5, "a string"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_key(key: str, value: object, expected: str) -> None:
    assert any(reason.startswith(f"'{key}' must be {expected}, found") for reason in reasons(**{key: value}))


@pytest.mark.parametrize("key", ["target_modules", "exclude_modules"])
def test_a_string_that_is_no_regex_is_refused(key: str) -> None:
    assert f"'{key}' '(q_proj' is not a regular expression" in reasons(**{key: "(q_proj"})[0]


@pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_is_no_regex_is_refused(key: str) -> None:
    assert f"'{key}' '*q' is not a regular expression" in reasons(**{key: {"*q": 4}})[0]


def test_what_peft_refuses_is_refused() -> None:
    assert "'layers_to_transform' cannot be used" in reasons(target_modules=".*q_proj", layers_to_transform=[1])[0]
    assert "'layers_pattern' cannot be used" in reasons(target_modules=".*q_proj", layers_pattern="h")[0]
    assert "'layers_pattern' is set without" in reasons(layers_pattern="h")[0]


def test_targets_that_peft_would_choose_by_itself_are_refused() -> None:
    assert "'target_modules' is missing" in reasons(target_modules=None)[0]


def test_all_reasons_are_given_at_once() -> None:
    found = reasons(r=0, bias=3, lora_bias=1, init_lora_weights="pissa", use_qalora=True, new=1)
    assert len(found) == 6


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b'{"r": \xff}', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1]", "does not hold an object"),
        (b" " * (LONGEST + 1), "is larger than"),
    ],
    ids=["empty", "cut off", "not UTF-8", "too deep", "a list", "too large"],
)
def test_a_file_that_is_no_config_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(AdapterRefusedError, match=reason):
        parse_config("adapter", text)
