"""Adapters on a base that was rounded at the start: as PEFT computes them on the rounded weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from support.checkpoints import load_base, write_adapters, write_base
from support.engines import make_engine, request, run
from support.oracle import greedy
from transformers import LlamaConfig

from loraplex_kernels.linear.rounders import ROUNDERS
from loraplex_server.models.load import load_model

PROMPTS = ([3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5], [1, 6, 1, 8, 0, 3])
MAX_TOKENS = 6
CONFIG = LlamaConfig(
    vocab_size=320,
    hidden_size=64,
    intermediate_size=128,  # nf4 has blocks of 64
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    tie_word_embeddings=False,
    initializer_range=0.3,
)
ADAPTERS = {
    "lora": {"r": 8, "target_modules": "all-linear"},
    "dora": {"r": 6, "use_dora": True, "target_modules": "all-linear"},
    "mixed": {"r": 4, "target_modules": ["q_proj", "v_proj", "up_proj"], "rank_pattern": {"q_proj": 9}},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    write_base(folder / "model", CONFIG)
    write_adapters(folder / "model", folder / "adapters", ADAPTERS)
    return folder


def rounded_oracle(folder: Path, form: str) -> torch.nn.Module:
    """transformers' model with the weights that are served."""
    device = torch.device("cpu")
    decoder = load_model(str(folder), device=device, dtype=torch.float32, quantization=form, head_quantization="none")
    model = load_base(folder)
    with torch.no_grad():
        for site in decoder.sites:
            model.get_submodule(site.name).weight.copy_(decoder.site_weight(site.index))
    return model


@pytest.mark.parametrize("form", ROUNDERS)
def test_every_form_answers_as_peft_does_on_its_rounded_weights(base: Path, form: str) -> None:
    core = make_engine(base / "model", quantization=form, head_quantization="none")
    asked = {(name, i): prompt for name in ("", *ADAPTERS) for i, prompt in enumerate(PROMPTS)}
    outputs = run(
        core,
        [
            request(f"{name} {i}", prompt, [name] if name else [], root=base / "adapters", max_tokens=MAX_TOKENS)
            for (name, i), prompt in asked.items()
        ],
    )
    core.store.close()
    for name in ("", *ADAPTERS):
        model = rounded_oracle(base / "model", form)
        if name:
            model = PeftModel.from_pretrained(model, base / "adapters" / name).eval()
        for i, prompt in enumerate(PROMPTS):
            expected, output = greedy(model, prompt, MAX_TOKENS), outputs[f"{name} {i}", 0]
            assert output.tokens == expected.tokens, (name, i)
            assert output.logprobs == pytest.approx(expected.logprobs, abs=2e-4), (name, i)


def test_rounding_shows_so_that_the_test_above_can_fail(base: Path) -> None:
    exact, rounded = load_base(base / "model"), rounded_oracle(base / "model", "int4")
    tokens = torch.tensor([PROMPTS[0]])
    assert (exact(tokens).logits - rounded(tokens).logits).abs().mean() > 0.05


def test_the_engine_keeps_what_it_rounded_and_says_what_it_serves(base: Path, tmp_path: Path) -> None:
    core = make_engine(base / "model", quantization="int4", quantization_cache=str(tmp_path / "kept"))
    core.store.close()
    assert len(list((tmp_path / "kept").rglob("*.safetensors"))) == 14
