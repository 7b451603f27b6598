"""Llama 1 to 3.x, and the many checkpoints that have its layout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.families.common import plain
from loraplex_server.models.families.family import Family


def describe(hf: Any, max_model_len: int | None) -> DecoderConfig:
    """`attention_bias` is on all four projections, `mlp_bias` on all three (transformers' modeling_llama.py)."""
    return replace(
        plain(hf, max_model_len, hf.hidden_act),
        qkv_bias=hf.attention_bias,
        o_bias=hf.attention_bias,
        mlp_bias=hf.mlp_bias,
    )


LLAMA = Family("LlamaForCausalLM", "llama", describe)
