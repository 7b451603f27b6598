"""Gemma 3 (text): Gemma 2's norms, q and k norms, and a rope of its own for the layers with a sliding window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.errors import UnsupportedModelError
from loraplex_server.models.families.common import plain, refuse_bidirectional, softcap, windows_by_type
from loraplex_server.models.families.family import Family
from loraplex_server.models.families.gemma2 import NAMES

_NAMES = replace(NAMES, q_norm="self_attn.q_norm", k_norm="self_attn.k_norm")


def describe(hf: Any, max_model_len: int | None) -> DecoderConfig:
    """From Gemma3TextConfig."""
    refuse_bidirectional(hf)
    if hf.attn_logit_softcapping is not None:
        # transformers' Gemma3Attention reads the setting and never uses it: nobody can say what is meant by it.
        raise UnsupportedModelError("attn_logit_softcapping is not supported for Gemma3ForCausalLM")
    config = plain(hf, max_model_len, hf.hidden_activation, ropes=("full_attention", "sliding_attention"))
    return replace(
        config,
        layers=windows_by_type(hf, config, sliding_rope=1),
        names=_NAMES,
        norm_offset=1.0,
        attention_scale=hf.query_pre_attn_scalar**-0.5,
        logit_softcap=softcap(hf, "final_logit_softcapping"),
        embedding_scale=hf.hidden_size**0.5,
        qkv_bias=hf.attention_bias,
        o_bias=hf.attention_bias,
    )


GEMMA3 = Family("Gemma3ForCausalLM", "gemma3_text", describe)
