"""Each family of models with adapters of mixed ranks, in one mixed batch, against PEFT on the same files."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from support.checkpoints import VOCAB, load_adapter, load_base, write_adapters, write_base
from support.engines import make_engine, request, run
from support.oracle import greedy
from support.tiny import tiny
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

SHAPE = tiny(VOCAB, layers=3, spread=0.3)
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
FAMILIES: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SHAPE),
    "llama3": LlamaConfig(**SHAPE, rope_parameters=LLAMA3_ROPE, tie_word_embeddings=True),
    "mistral": MistralConfig(**SHAPE, sliding_window=6),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16),
    "gemma2": Gemma2Config(**SHAPE, head_dim=16, query_pre_attn_scalar=16, sliding_window=6),
    "gemma3": Gemma3TextConfig(
        **SHAPE, head_dim=16, query_pre_attn_scalar=16, sliding_window=6, sliding_window_pattern=2
    ),
    "phi3": Phi3Config(**SHAPE),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_adapters_of_a_family_match_peft(family: str, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", FAMILIES[family])
    attention = "qkv_proj" if family == "phi3" else "v_proj"
    variants: dict[str, dict[str, Any]] = {
        "r3": {"r": 3, "target_modules": "all-linear"},
        "r17": {"r": 17, "use_rslora": True, "target_modules": [attention, "down_proj"]},
        "dora": {"r": 5, "use_dora": True, "target_modules": [attention, "o_proj"]},
    }
    adapters = write_adapters(base, tmp_path / "adapters", variants)
    prompts = {
        name: random.Random(name).choices(range(3, VOCAB), k=9 + i) for i, name in enumerate([*variants, "base"])
    }
    core = make_engine(base, max_num_batched_tokens=16, max_num_seqs=8)
    outputs = run(
        core,
        [
            request(name, tokens, [name] if name != "base" else [], root=adapters, max_tokens=6)
            for name, tokens in prompts.items()
        ],
    )
    for name, tokens in prompts.items():
        model = load_base(base) if name == "base" else load_adapter(base, adapters / name)
        expected = greedy(model, tokens, 6)
        assert outputs[name, 0].tokens == expected.tokens, name
        assert outputs[name, 0].logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    core.store.close()


@pytest.mark.parametrize("tensor_parallel_size", [1, 2])
def test_a_cache_that_holds_no_long_sequence_means_longropes_short_factors(
    tmp_path: Path, tensor_parallel_size: int
) -> None:
    """As transformers, which takes the long ones where a sequence is longer than the model was made for at first."""
    half = SHAPE["hidden_size"] // SHAPE["num_attention_heads"] // 2
    rope = {"rope_type": "longrope", "rope_theta": 1000.0, "short_factor": [1.0] * half, "long_factor": [4.0] * half}
    config = Phi3Config(
        **{**SHAPE, "max_position_embeddings": 4096}, rope_parameters=rope, original_max_position_embeddings=128
    )
    base = write_base(tmp_path, config)
    asked = random.Random(1).choices(range(3, VOCAB), k=40)
    core = make_engine(
        base, kv_cache_memory=(32 << 10) // tensor_parallel_size, tensor_parallel_size=tensor_parallel_size
    )
    try:
        assert core.runner.model.config.max_model_len == 4096
        assert core.scheduler.pool.num_blocks * 8 <= 128
        output = run(core, [request("a", asked)])["a", 0]
    finally:
        core.close()
    assert output.tokens == greedy(load_base(base), asked, 8).tokens
