"""Mistral: Llama's layout with a sliding window on every layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.families.common import plain, same_window
from loraplex_server.models.families.family import Family


def describe(hf: Any, max_model_len: int | None) -> DecoderConfig:
    """From MistralConfig; later releases set `sliding_window` to null."""
    config = plain(hf, max_model_len, hf.hidden_act)
    return replace(config, layers=same_window(hf, config))


MISTRAL = Family("MistralForCausalLM", "mistral", describe)
