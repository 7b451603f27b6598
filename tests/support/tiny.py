"""The config of a base model that is tiny, but has several layers and grouped heads like a real one."""

from __future__ import annotations

from typing import Any


def tiny(vocab: int, layers: int, spread: float) -> dict[str, Any]:
    """Arguments of any family's config.

    Args:
        vocab: tokens.
        layers: of the decoder.
        spread: of the random weights; logits must lie so far apart that greedy choices do not hang on rounding.
    """
    return {
        "vocab_size": vocab,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": spread,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
