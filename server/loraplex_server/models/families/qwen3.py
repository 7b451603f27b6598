"""Qwen3: a norm over each head's q and k, and no bias."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.families.common import plain, windows_by_type
from loraplex_server.models.families.family import Family
from loraplex_server.models.names import LayerNames

_NAMES = LayerNames(q_norm="self_attn.q_norm", k_norm="self_attn.k_norm")


def describe(hf: Any, max_model_len: int | None) -> DecoderConfig:
    """From Qwen3Config; windows as in Qwen2."""
    config = plain(hf, max_model_len, hf.hidden_act)
    return replace(
        config, layers=windows_by_type(hf, config), names=_NAMES, qkv_bias=hf.attention_bias, o_bias=hf.attention_bias
    )


QWEN3 = Family("Qwen3ForCausalLM", "qwen3", describe)
