"""Phi-3 and Phi-4-mini: q, k, v and gate, up come packed, and so do their adapters; a part of each head is turned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.families.common import plain, same_window
from loraplex_server.models.families.family import Family
from loraplex_server.models.names import LayerNames

_NAMES = LayerNames(qkv=("self_attn.qkv_proj",), gate_up=("mlp.gate_up_proj",))


def describe(hf: Any, max_model_len: int | None) -> DecoderConfig:
    """From Phi3Config. Which of LongRoPE's factors serve is said in `families.rope.rope_config`."""
    config = plain(hf, max_model_len, hf.hidden_act, partial_rotary=True)
    return replace(config, layers=same_window(hf, config), names=_NAMES)


PHI3 = Family("Phi3ForCausalLM", "phi3", describe)
