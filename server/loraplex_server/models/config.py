"""What a decoder is, whatever family it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from loraplex_server.models.names import LayerNames

Activation = Literal["silu", "gelu_tanh"]


@dataclass(frozen=True)
class RopeConfig:
    """Rotary embedding.

    Args:
        rotary_dim: elements of each head that are turned.
        length: the longest sequence that will be served.
        work_out: frequencies and scaling for that length; called when they are first asked for, since it takes torch.
    """

    rotary_dim: int
    length: int
    work_out: Callable[[int], tuple[tuple[float, ...], float]] = field(repr=False, compare=False)

    @property
    def inv_freq(self) -> tuple[float, ...]:
        """`[rotary_dim / 2]`, radians a position; the values of float32, every kind of scaling already worked in."""
        return self._worked_out[0]

    @property
    def scaling(self) -> float:
        """Of cos and sin: YaRN's and LongRoPE's attention factor."""
        return self._worked_out[1]

    @cached_property
    def _worked_out(self) -> tuple[tuple[float, ...], float]:
        return self.work_out(self.length)


@dataclass(frozen=True)
class LayerConfig:
    """Where one layer may differ from the next."""

    window: int | None = None  # positions that a row sees, its own included; None: all
    rope: int = 0  # index into `DecoderConfig.ropes`


@dataclass(frozen=True)
class DecoderConfig:
    """All that the decoder needs to know; a family's file makes it from transformers' config.

    Which norms a layer has, and whether q, k, v come packed, is said by `names`: what has no name is not there.
    """

    architecture: str  # transformers' class, such as LlamaForCausalLM
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int  # the longest sequence that the model was made for
    max_model_len: int  # the longest that is served, prompt and answer together
    layers: tuple[LayerConfig, ...]
    ropes: tuple[RopeConfig, ...]
    names: LayerNames
    activation: Activation
    norm_eps: float
    attention_scale: float
    norm_offset: float = 0.0  # 1 for Gemma, whose checkpoints store the norms' weights less one
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    embedding_scale: float = 1.0
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    tie_embeddings: bool = False

    @property
    def num_layers(self) -> int:
        """Decoder layers."""
        return len(self.layers)
