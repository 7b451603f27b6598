"""Every variant of LoRA, against what PEFT's own modules compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import peft_effects as effects
from support.peft_files import Base, Write, make_base, read_again

from loraplex_adapters.loading import LoadedAdapter, read
from loraplex_adapters.package import inspect

CPU = torch.device("cpu")
BOTH = ("llama", "qwen2", "gemma3")
TIED = ("qwen2", "gemma3")
QV = {"target_modules": ["q_proj", "v_proj"]}

# What it is -> (families, PEFT's options, the fields of Terms that it must come to).
VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, Any], set[str]]] = {
    "bias of LoRA's linears": (("qwen2",), {**QV, "bias": "lora_only"}, {"bias"}),
    "all biases": (("qwen2",), {"target_modules": ["q_proj", "o_proj"], "bias": "all"}, {"bias"}),
    "all biases, where there are none": (("llama",), {**QV, "bias": "all"}, set()),
    "all biases, dora": (("qwen2",), {"target_modules": ["q_proj"], "bias": "all", "use_dora": True}, {"bias"}),
    "bias of lora_B": (("llama", "qwen2", "phi3"), {"target_modules": "all-linear", "lora_bias": True}, {"bias"}),
    "bias of lora_B, rslora, head": (
        ("llama", "qwen2"),
        {"target_modules": ["q_proj", "lm_head"], "lora_bias": True, "use_rslora": True},
        {"bias"},
    ),
    "bias of lora_B and all biases": (("qwen2",), {**QV, "lora_bias": True, "bias": "all"}, {"bias"}),
    "embedding": (BOTH, {"target_modules": ["q_proj", "embed_tokens"]}, {"embedding_lora"}),
    "embedding alone": (BOTH, {"target_modules": ["embed_tokens"]}, {"embedding_lora"}),
    "embedding and head, patterns": (
        BOTH,
        {
            "target_modules": ["embed_tokens", "lm_head"],
            "rank_pattern": {"embed_tokens": 3, "lm_head": 5},
            "alpha_pattern": {"lm_head": 3},
        },
        {"embedding_lora"},
    ),
    "embedding by regex": (("llama",), {"target_modules": r"model\.embed_tokens|.*q_proj"}, {"embedding_lora"}),
    "embedding, dora": (BOTH, {"target_modules": ["embed_tokens", "k_proj"], "use_dora": True}, {"embedding"}),
    "embedding, tied": (TIED, {"target_modules": ["embed_tokens"], "ensure_weight_tying": True}, {"embedding_lora"}),
    "head, tied": (TIED, {"target_modules": ["lm_head"], "ensure_weight_tying": True}, {"embedding_lora"}),
    "embedding by regex, tied": (
        TIED,
        {"target_modules": r".*embed_tokens|.*q_proj", "ensure_weight_tying": True},
        {"embedding_lora"},
    ),
    "nothing to tie": (BOTH, {**QV, "ensure_weight_tying": True}, set()),
    "saved head": (BOTH, {**QV, "modules_to_save": ["lm_head"]}, {"weight"}),
    "saved embedding": (BOTH, {**QV, "modules_to_save": ["embed_tokens"]}, {"embedding"}),
    "saved tables": (BOTH, {**QV, "modules_to_save": ["embed_tokens", "lm_head"]}, {"embedding", "weight"}),
    "saved tables, tied": (
        TIED,
        {**QV, "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        {"embedding", "weight"},
    ),
    "saved head, tied": (
        TIED,
        {**QV, "modules_to_save": ["lm_head"], "ensure_weight_tying": True},
        {"embedding", "weight"},
    ),
    "saved norms": (("llama", "phi3", "gemma3"), {"target_modules": ["o_proj"], "modules_to_save": ["norm"]}, {"norm"}),
    "saved head norms": (("gemma3",), {**QV, "modules_to_save": ["q_norm", "k_norm"]}, {"norm"}),
    "saved linear": (("llama",), {**QV, "modules_to_save": ["k_proj"]}, {"weight"}),
    "saved linear with its bias": (("qwen2",), {**QV, "modules_to_save": ["k_proj"]}, {"weight", "bias"}),
    "saved linear, all biases": (("qwen2",), {**QV, "modules_to_save": ["k_proj"], "bias": "all"}, {"weight", "bias"}),
    "saved block": (BOTH, {**QV, "modules_to_save": ["mlp"]}, {"weight"}),
    "saved layer": (("llama",), {**QV, "modules_to_save": ["layers.1"]}, {"weight", "norm"}),
    "saved, of all linears": (
        BOTH,
        {"target_modules": "all-linear", "modules_to_save": ["lm_head", "o_proj"]},
        {"weight"},
    ),
    "saved, but not there": (("llama",), {**QV, "modules_to_save": ["score", "rotary_emb"]}, set()),
    "tokens": (("llama",), {**QV, "trainable_token_indices": [5, 95, 3]}, {"input_tokens"}),
    "tokens, tied": (TIED, {**QV, "trainable_token_indices": [5, 3]}, {"input_tokens", "output_tokens"}),
    "tokens of both tables": (
        BOTH,
        {**QV, "trainable_token_indices": {"embed_tokens": [9, 3], "lm_head": [7, 2, 1]}},
        {"input_tokens", "output_tokens"},
    ),
    "the same tokens of both tables": (
        BOTH,
        {**QV, "trainable_token_indices": {"embed_tokens": [9, 3], "lm_head": [9, 3]}},
        {"input_tokens", "output_tokens"},
    ),
    "tokens of the head": (BOTH, {**QV, "trainable_token_indices": {"lm_head": [9, 3]}}, {"output_tokens"}),
    "tokens and LoRA on the head": (
        TIED,
        {"target_modules": ["q_proj", "lm_head"], "trainable_token_indices": [9, 3]},
        {"input_tokens", "output_tokens"},
    ),
    "tokens and a saved head": (
        ("llama",),
        {**QV, "trainable_token_indices": [9, 3], "modules_to_save": ["lm_head"]},
        {"input_tokens", "weight"},
    ),
}
CASES = [(name, family) for name, (families, _, _) in VARIANTS.items() for family in families]


def load(written, base: Base, dtype: torch.dtype = torch.float32) -> LoadedAdapter:
    return read(written.source, dtype, CPU, base)


def fields(loaded: LoadedAdapter) -> set[str]:
    found = vars(loaded.terms)
    return {name for name, value in found.items() if value is not None and value != {}}


@pytest.mark.parametrize(("name", "family"), CASES)
def test_a_model_with_the_adapter_is_pefts(write: Write, bases: dict[str, Base], name: str, family: str) -> None:
    _, options, terms = VARIANTS[name]
    written, base = write(family=family, **options), bases[family]
    loaded = load(written, base)
    again = read_again(written, make_base(family).model)
    effects.assert_same(effects.by_loading(loaded, base), effects.by_peft(again, base))
    assert fields(loaded) == terms
    assert loaded.traits.terms == bool(terms)
    head = base.shape.head.index
    assert loaded.traits.head == (
        head in {*loaded.terms.weight, *loaded.terms.bias} or loaded.terms.output_tokens is not None
    )


@pytest.mark.parametrize(("name", "family"), CASES)
def test_sizes_are_known_before_a_weight_is_read(write: Write, bases: dict[str, Base], name: str, family: str) -> None:
    written, base = write(family=family, **VARIANTS[name][1]), bases[family]
    for dtype in (torch.float32, torch.bfloat16):
        loaded = load(written, base, dtype)
        at_most = inspect(written.source, base.shape, dtype).nbytes
        assert inspect(written.source, base.shape, dtype, base).nbytes == loaded.buffer.numel() == loaded.layout.nbytes
        assert loaded.layout.nbytes <= at_most
        pefts = effects.by_peft(written, base)
        effects.assert_same(effects.by_loading(loaded, base, dtype), pefts, 2e-5 if dtype is torch.float32 else 0.05)


def test_tables_that_are_the_bases_own_take_no_room(write: Write, bases: dict[str, Base], tmp_path: Path) -> None:
    written = write()
    written.peft.save_pretrained(tmp_path / "all", save_embedding_layers=True)
    copy = type(written)(written.peft, tmp_path / "all")
    base = bases["llama"]
    assert load(copy, base).buffer.numel() == load(written, base).buffer.numel()
    assert load(copy, base).traits == load(written, base).traits
