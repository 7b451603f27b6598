"""The base models of the matrix: one tiny model a family, each with a trait that adapters have to cope with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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

VOCAB = 160
SHAPE = tiny(VOCAB, layers=3, spread=0.2)


@dataclass(frozen=True)
class Family:
    """A base model and the names that adapters call its linears by."""

    name: str
    config: PreTrainedConfig
    about: str  # for the page
    attention: tuple[str, ...] = ("q_proj", "v_proj")
    output: str = "o_proj"
    gate: tuple[str, ...] = ("gate_proj", "up_proj")
    down: str = "down_proj"
    options: Mapping[str, Any] = field(default_factory=dict)  # of the engine

    @property
    def some(self) -> list[str]:
        """Linears of several widths: of attention and of the feed-forward block, into a sum of others and out of it."""
        return [*self.attention, self.output, self.gate[-1], self.down]


_PACKED: dict[str, Any] = {"attention": ("qkv_proj",), "gate": ("gate_up_proj",)}
_GEMMA: dict[str, Any] = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 6}

FAMILIES = {
    family.name: family
    for family in (
        Family("llama", LlamaConfig(**SHAPE, tie_word_embeddings=False), "an lm_head of its own"),
        Family("qwen2", Qwen2Config(**SHAPE, tie_word_embeddings=True), "tied embeddings, biases on q, k and v"),
        Family("qwen3", Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=False), "norms over heads"),
        Family("mistral", MistralConfig(**SHAPE, sliding_window=6), "a sliding window on every layer"),
        Family("phi3", Phi3Config(**SHAPE, tie_word_embeddings=False), "q, k, v and gate, up in one linear", **_PACKED),
        Family("gemma2", Gemma2Config(**SHAPE, **_GEMMA), "soft caps, tied and scaled embeddings, four norms a layer"),
        Family(
            "gemma3",
            Gemma3TextConfig(**SHAPE, **_GEMMA, sliding_window_pattern=2),
            "tied and scaled embeddings, norms over heads, a window on every other layer",
        ),
        Family(
            "llama-int8",
            LlamaConfig(**SHAPE, tie_word_embeddings=False),
            "served with --quantization int8",
            options={"quantization": "int8"},
        ),
        Family(
            "llama-bf16",
            LlamaConfig(**SHAPE, tie_word_embeddings=False),
            "served in bfloat16; all rows of `llama` run there too",
            options={"dtype": "bfloat16"},
        ),
        Family(
            "llama-int8-adapters",
            LlamaConfig(**SHAPE, tie_word_embeddings=False),
            "served with --adapter-dtype int8; all rows of `llama` run there too",
            options={"adapter_dtype": "int8"},
        ),
    )
}
