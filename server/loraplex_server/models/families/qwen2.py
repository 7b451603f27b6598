"""Qwen2 and Qwen2.5: Llama's layout with biases on q, k and v."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.families.common import plain, windows_by_type
from loraplex_server.models.families.family import Family


def describe(hf: Any, max_model_len: int | None) -> DecoderConfig:
    """From Qwen2Config, whose `layer_types` say which layers `use_sliding_window` is about."""
    config = plain(hf, max_model_len, hf.hidden_act)
    return replace(config, layers=windows_by_type(hf, config), qkv_bias=True)


QWEN2 = Family("Qwen2ForCausalLM", "qwen2", describe)
