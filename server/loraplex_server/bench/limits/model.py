"""What a decoder's shape says about its bytes and its arithmetic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelShape:
    """A decoder with grouped-query attention and a gated MLP. Norms and biases are left out: under 0.1 %."""

    name: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """`(in, out)` of one layer's q, k, v, o, gate, up and down."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = ((self.hidden, q), (self.hidden, kv), (self.hidden, kv), (q, self.hidden))
        gated = ((self.hidden, self.intermediate), (self.hidden, self.intermediate), (self.intermediate, self.hidden))
        return (*attention, *gated)

    @property
    def linear_weights(self) -> int:
        """P: weights of all layers' linears."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linears)

    @property
    def head_weights(self) -> int:
        """H: weights of the lm_head, tied or not; the embedding itself is a gather of a few rows."""
        return self.hidden * self.vocabulary

    def adapter_weights(self, rank: int) -> int:
        """A: weights of an adapter of this rank on all seven linears."""
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in self.linears)

    @property
    def kv_values(self) -> int:
        """K: values that the KV cache keeps of one token."""
        return 2 * self.layers * self.kv_heads * self.head_dim

    @property
    def attention_width(self) -> int:
        """Layers x heads x head_dim: a query against one key, and its weight on one value, take 4 operations each."""
        return self.layers * self.heads * self.head_dim


def model_shape(path: Path | str) -> ModelShape:
    """From a checkpoint's folder, or its config.json.

    Raises:
        ValueError: it is neither, or its config lacks a size.
    """
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is no folder with a config.json")
    return shape_of_config(path.parent.name, json.loads(path.read_text(encoding="utf-8")))


def shape_of_config(name: str, config: Mapping[str, Any]) -> ModelShape:
    """From what a config.json holds.

    Raises:
        ValueError: it lacks a size.
    """
    config = config.get("text_config", config)
    try:
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        return ModelShape(
            name=name,
            hidden=hidden,
            intermediate=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or hidden // heads,
            vocabulary=config["vocab_size"],
        )
    except KeyError as missing:
        raise ValueError(f"the config of {name} has no {missing}") from missing
