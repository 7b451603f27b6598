"""What cannot be served exactly is refused, by its name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.peft_files import Base, Write, Written

from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.loading import read
from loraplex_adapters.package import inspect

PREFIX = "base_model.model."
DELTA = f"{PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta"


def reasons(written: Written, base: Base) -> tuple[str, ...]:
    with pytest.raises(AdapterRefusedError) as refused:
        inspect(written.source, base.shape, torch.float32)
    return refused.value.reasons


def test_alora_is_told_to_the_engine(write: Write, llama: Base) -> None:
    loaded = read(write(alora_invocation_tokens=[5, 5, 2]).source, torch.float32, torch.device("cpu"), llama)
    assert loaded.traits.invocation == (5, 5, 2)
    assert not loaded.traits.terms


def test_alora_may_have_biases_of_its_own(write: Write, llama: Base) -> None:
    """They act where the update acts."""
    loaded = read(write(alora_invocation_tokens=[5], lora_bias=True).source, torch.float32, torch.device("cpu"), llama)
    assert loaded.traits.invocation == (5,)
    assert len(loaded.terms.bias) == 6


@pytest.mark.parametrize(
    ("family", "options", "what"),
    [
        ("llama", {"modules_to_save": ["norm"]}, "'modules_to_save'"),
        ("llama", {"trainable_token_indices": [3]}, "'trainable_token_indices'"),
        ("qwen2", {"bias": "all"}, "'bias' = 'all'"),
    ],
)
def test_alora_with_what_acts_before_the_invocation_is_refused(
    write: Write, bases: dict[str, Base], family: str, options: dict[str, Any], what: str
) -> None:
    (reason,) = reasons(write(family=family, alora_invocation_tokens=[5], **options), bases[family])
    assert reason.startswith(f"'alora_invocation_tokens' is set, but PEFT applies {what} before the invocation too")


def test_alora_on_a_head_of_its_own_is_refused(write: Write, llama: Base) -> None:
    written = write(alora_invocation_tokens=[5], target_modules=["lm_head"])
    read(written.source, torch.float32, torch.device("cpu"), llama)
    written.edit_tensors(lambda tensors: tensors[f"{PREFIX}lm_head.base_layer.weight"].add_(1))
    with pytest.raises(AdapterRefusedError, match="PEFT applies tables of the vocabulary"):
        read(written.source, torch.float32, torch.device("cpu"), llama)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ({"modules_to_save": ["proj"]}, "both 'modules_to_save' and LoRA are on model.layers.0.self_attn.q_proj, "),
        ({"modules_to_save": ["mlp", "up_proj"]}, "'modules_to_save' names model.layers.0.mlp.up_proj, "),
        ({"modules_to_save": ["base_layer"]}, "'modules_to_save' 'base_layer' names what no single module"),
        ({"modules_to_save": ["layers"]}, "'modules_to_save' 'layers' names what no single module"),
        ({"modules_to_save": ["norm"]}, "7 modules of modules_to_save have no weight in the file: "),
        ({"trainable_token_indices": {"q_proj": [3]}}, "'trainable_token_indices' 'q_proj' must name"),
        (
            {"trainable_token_indices": [3, 96]},
            "'trainable_token_indices' has [96], but model.embed_tokens has 96 rows",
        ),
        ({"trainable_token_indices": [3]}, "1 modules of trainable_token_indices have no trainable_tokens_delta"),
        (
            {"trainable_token_indices": [3], "modules_to_save": ["embed_tokens"]},
            "both 'trainable_token_indices' and 'modules_to_save' are on model.embed_tokens",
        ),
        (
            {"trainable_token_indices": [3], "target_modules": ["q_proj", "v_proj", "embed_tokens"]},
            "both 'trainable_token_indices' and LoRA are on model.embed_tokens",
        ),
        ({"lora_bias": True}, "6 linears that the config selects have no lora_B.bias in the file: "),
        (
            {"lora_bias": True, "target_modules": ["q_proj", "v_proj", "embed_tokens"]},
            "'lora_bias' cannot be used with model.embed_tokens",
        ),
        (
            {"alora_invocation_tokens": [3], "target_modules": ["q_proj", "v_proj", "embed_tokens"]},
            "'alora_invocation_tokens' cannot be used with model.embed_tokens",
        ),
        ({"target_modules": ["q_proj", "v_proj", "embed_tokens"]}, "1 embeddings that the config selects have no "),
    ],
)
def test_a_config_that_the_file_does_not_fit_is_refused(
    write: Write, llama: Base, edit: dict[str, Any], reason: str
) -> None:
    written = write()
    written.edit_config(**edit)
    assert any(found.startswith(reason) for found in reasons(written, llama))


def test_rows_of_another_width_are_refused_with_the_right_one(write: Write, llama: Base) -> None:
    written = write(trainable_token_indices=[3, 5])
    written.edit_tensors(lambda tensors: tensors.update({DELTA: torch.zeros(3, 32)}))
    assert reasons(written, llama) == (f"{DELTA} has shape [3, 32], expected [2, 32]",)
    written.edit_tensors(lambda tensors: tensors.update({DELTA: torch.zeros(2, 31)}))
    assert reasons(written, llama) == (f"{DELTA} has shape [2, 31], expected [2, 32]",)


def test_missing_biases_are_refused(write: Write, bases: dict[str, Base]) -> None:
    written = write(family="qwen2", bias="all")
    written.edit_tensors(lambda tensors: tensors.pop(f"{PREFIX}model.layers.1.self_attn.k_proj.bias"))
    assert reasons(written, bases["qwen2"]) == (
        "1 linears whose biases were trained have no bias in the file: model.layers.1.self_attn.k_proj",
    )


def test_tied_tokens_that_differ_are_refused(write: Write, bases: dict[str, Base]) -> None:
    written = write(family="qwen2", trainable_token_indices=[3])
    written.edit_config(ensure_weight_tying=True, trainable_token_indices={"embed_tokens": [3], "lm_head": [4]})
    assert any("'ensure_weight_tying' cannot be used with" in reason for reason in reasons(written, bases["qwen2"]))


def test_dora_over_trained_tokens_of_the_head_is_refused(write: Write, bases: dict[str, Base]) -> None:
    written = write(family="qwen2", target_modules=["lm_head"], trainable_token_indices=[3], use_dora=True)
    (reason,) = reasons(written, bases["qwen2"])
    assert reason == "'use_dora' is on lm_head, together with 'trainable_token_indices', which is not served"


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"trainable_token_indices": [3, 5]}, DELTA),
        ({"modules_to_save": ["norm"]}, f"{PREFIX}model.norm.weight"),
        ({"modules_to_save": ["lm_head"]}, f"{PREFIX}lm_head.weight"),
        ({"lora_bias": True}, f"{PREFIX}model.layers.0.self_attn.q_proj.lora_B.bias"),
        ({"target_modules": ["embed_tokens"]}, f"{PREFIX}model.embed_tokens.lora_embedding_A"),
        ({"target_modules": ["embed_tokens"], "use_dora": True}, f"{PREFIX}model.embed_tokens.lora_magnitude_vector"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused_by_its_name(
    write: Write, llama: Base, options: dict[str, Any], key: str, value: float
) -> None:
    written = write(**options)
    written.edit_tensors(lambda tensors: tensors[key].view(-1)[-1:].fill_(value))
    with pytest.raises(AdapterRefusedError) as refused:
        read(written.source, torch.float32, torch.device("cpu"), llama)
    assert refused.value.reasons == (f"{key} holds an infinity or NaN, or a value too large for torch.float32",)


def test_a_dtype_too_narrow_for_a_term_is_refused(write: Write, llama: Base) -> None:
    written = write(modules_to_save=["norm"])
    written.edit_tensors(lambda tensors: tensors[f"{PREFIX}model.norm.weight"].fill_(1e6))
    read(written.source, torch.bfloat16, torch.device("cpu"), llama)
    with pytest.raises(AdapterRefusedError, match="too large for torch"):
        read(written.source, torch.float16, torch.device("cpu"), llama)
