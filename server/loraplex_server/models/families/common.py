"""What all families read from a transformers config alike; each family's file then says where it differs."""

from __future__ import annotations

from typing import Any

from loraplex_server.models.config import Activation, DecoderConfig, LayerConfig
from loraplex_server.models.errors import UnsupportedModelError
from loraplex_server.models.families.rope import rope_config, trained_length
from loraplex_server.models.names import LayerNames

# Names of transformers' activations.ACT2FN.
_ACTIVATIONS: dict[str, Activation] = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}


def plain(
    hf: Any,
    max_model_len: int | None,
    activation: str,
    *,
    ropes: tuple[str | None, ...] = (None,),
    partial_rotary: bool = False,
) -> DecoderConfig:
    """A decoder with Llama's layout: no window, no bias, the first rope on every layer.

    Args:
        hf: transformers' config.
        max_model_len: the longest sequence to serve; None for the longest that the model was made for.
        activation: as the config names it.
        ropes: layer types that have a rope each; None for the one that all share.
        partial_rotary: whether the family turns only a part of each head (partial_rotary_factor).

    Raises:
        UnsupportedModelError: the rope's kind, the activation or the division of the heads is not supported.
        ValueError: `max_model_len` is not between 1 and what the model was made for.
    """
    if activation not in _ACTIVATIONS:
        raise UnsupportedModelError(
            f"activation {activation!r} is not supported; supported: {', '.join(sorted(_ACTIVATIONS))}"
        )
    if hf.num_attention_heads % hf.num_key_value_heads:
        raise UnsupportedModelError(
            f"num_attention_heads ({hf.num_attention_heads}) is no multiple of "
            f"num_key_value_heads ({hf.num_key_value_heads})"
        )
    longest = trained_length(hf)
    length = longest if max_model_len is None else max_model_len
    if not 1 <= length <= longest:
        raise ValueError(f"max_model_len must be between 1 and the model's {longest} positions, not {length}")
    dim = int(getattr(hf, "head_dim", None) or hf.hidden_size // hf.num_attention_heads)
    return DecoderConfig(
        architecture=hf.architectures[0],
        vocab_size=hf.vocab_size,
        hidden_size=hf.hidden_size,
        intermediate_size=hf.intermediate_size,
        num_heads=hf.num_attention_heads,
        num_kv_heads=hf.num_key_value_heads,
        head_dim=dim,
        max_position_embeddings=longest,
        max_model_len=length,
        layers=(LayerConfig(),) * hf.num_hidden_layers,
        ropes=tuple(rope_config(hf, dim, length, kind, partial=partial_rotary) for kind in ropes),
        names=LayerNames(),
        activation=_ACTIVATIONS[activation],
        norm_eps=hf.rms_norm_eps,
        attention_scale=dim**-0.5,
        tie_embeddings=hf.tie_word_embeddings,
    )


def same_window(hf: Any, config: DecoderConfig) -> tuple[LayerConfig, ...]:
    """Every layer with the sliding window, where there is one."""
    return (LayerConfig(window=_window(hf, config)),) * config.num_layers


def windows_by_type(hf: Any, config: DecoderConfig, *, sliding_rope: int = 0) -> tuple[LayerConfig, ...]:
    """The sliding window on the layers that `layer_types` names, with a rope of their own if need be.

    Raises:
        UnsupportedModelError: a layer is neither sliding nor full attention, or there is no window to slide.
    """
    kinds = {
        "full_attention": LayerConfig(),
        "sliding_attention": LayerConfig(window=_window(hf, config), rope=sliding_rope),
    }
    unknown = sorted(set(hf.layer_types) - kinds.keys())
    if unknown:
        raise UnsupportedModelError(
            f"layer_types {', '.join(unknown)} are not supported; supported: {', '.join(kinds)}"
        )
    if hf.sliding_window is None and "sliding_attention" in hf.layer_types:
        raise UnsupportedModelError("layer_types name sliding_attention, and sliding_window is null")
    return tuple(kinds[kind] for kind in hf.layer_types)


def _window(hf: Any, config: DecoderConfig) -> int | None:
    """None where no sequence gets long enough to be cut: attention without a window is the faster one."""
    size: int | None = hf.sliding_window
    if size is not None and size < 1:
        raise UnsupportedModelError(f"sliding_window must be at least 1 token, not {size}")
    return None if size is None or size >= config.max_model_len else size


def softcap(hf: Any, name: str) -> float | None:
    """What scores are held within by a hyperbolic tangent; None where they are not.

    Raises:
        UnsupportedModelError: it is not above 0.
    """
    cap: float | None = getattr(hf, name)
    if cap is not None and cap <= 0:
        raise UnsupportedModelError(f"{name} must be above 0, not {cap}")
    return cap


def refuse_bidirectional(hf: Any) -> None:
    """Raise UnsupportedModelError for Gemma's embedding models, which look ahead."""
    if hf.use_bidirectional_attention:
        raise UnsupportedModelError("use_bidirectional_attention is not supported: the decoder is causal")
