"""Gemma 2: norms before and after each block, soft-capped scores, every other layer with a sliding window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.families.common import plain, refuse_bidirectional, softcap, windows_by_type
from loraplex_server.models.families.family import Family
from loraplex_server.models.names import LayerNames

NAMES = LayerNames(
    attention_post_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
)


def describe(hf: Any, max_model_len: int | None) -> DecoderConfig:
    """From Gemma2Config."""
    refuse_bidirectional(hf)
    config = plain(hf, max_model_len, hf.hidden_activation)
    return replace(
        config,
        layers=windows_by_type(hf, config),
        names=NAMES,
        norm_offset=1.0,
        attention_scale=hf.query_pre_attn_scalar**-0.5,
        attention_softcap=softcap(hf, "attn_logit_softcapping"),
        logit_softcap=softcap(hf, "final_logit_softcapping"),
        embedding_scale=hf.hidden_size**0.5,
        qkv_bias=hf.attention_bias,
        o_bias=hf.attention_bias,
    )


GEMMA2 = Family("Gemma2ForCausalLM", "gemma2", describe)
