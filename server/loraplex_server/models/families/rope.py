"""Rotary frequencies from a transformers config, by transformers' own functions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial as bind
from typing import Any

from loraplex_server.models.config import RopeConfig
from loraplex_server.models.errors import UnsupportedModelError

# Those whose frequencies do not depend on how long the running sequence happens to be. Of LongRoPE's two sets of
# factors one is chosen for good, see `rope_config`.
SUPPORTED = ("default", "linear", "llama3", "yarn", "longrope")


def rope_config(
    hf: Any, head_dim: int, length: int, layer_type: str | None = None, *, partial: bool = False
) -> RopeConfig:
    """Frequencies of one kind of layer.

    LongRoPE has factors for short and for long sequences, and transformers changes from one to the other when the
    longest sequence of a batch passes `original_max_position_embeddings`. Cached keys cannot change with it, and a
    sequence's output must not hang on its neighbours: so the long factors serve every sequence where `length` is above
    that limit, and the short ones where it is not. To have the short ones, start with a `max_model_len` up to it; a KV
    cache that holds no more than that does the same (`Decoder.serve_up_to`).

    Args:
        hf: transformers' config, standardized (`rope_parameters`).
        head_dim: width of a head.
        length: the longest sequence that will be served.
        layer_type: key of `rope_parameters` where it has one entry a layer type (Gemma 3).
        partial: whether the family heeds `partial_rotary_factor`.

    Raises:
        UnsupportedModelError: the kind of rope, by name.
    """
    parameters = hf.rope_parameters if layer_type is None else hf.rope_parameters[layer_type]
    kind = parameters.get("rope_type")
    if kind not in SUPPORTED:
        raise UnsupportedModelError(f"rope type {kind!r} is not supported; supported: {', '.join(SUPPORTED)}")
    share = parameters.get("partial_rotary_factor", 1.0)
    if share != 1.0 and not partial:
        raise UnsupportedModelError(f"partial_rotary_factor {share} is not supported for {hf.architectures[0]}")
    dim = int(head_dim * share)
    return RopeConfig(dim, length, bind(_work_out, hf, parameters, dim, layer_type))


def trained_length(hf: Any) -> int:
    """The longest sequence that the model was made for.

    YaRN's configs keep `max_position_embeddings` at the original length and stretch it by the factor (Qwen2.5's model
    card says to add the rope scaling alone); for other kinds `max_position_embeddings` is the stretched length already.
    """
    longest = int(hf.max_position_embeddings)
    parameters = hf.rope_parameters
    if parameters.get("rope_type") != "yarn":
        return longest
    return max(longest, int(parameters["original_max_position_embeddings"] * (parameters["factor"] or 1.0)))


def _work_out(
    hf: Any, parameters: Mapping[str, Any], dim: int, layer_type: str | None, length: int
) -> tuple[tuple[float, ...], float]:
    import torch  # not above: a config alone is read without it
    from transformers import modeling_rope_utils

    if parameters["rope_type"] == "default":
        exponents = torch.arange(0, dim, 2, dtype=torch.float32) / dim
        inv_freq, scaling = 1.0 / (parameters["rope_theta"] ** exponents), 1.0
    else:
        modeling_rope_utils.torch = torch  # which it lacks where torch was kept from transformers
        compute = modeling_rope_utils.ROPE_INIT_FUNCTIONS[parameters["rope_type"]]
        inv_freq, scaling = compute(hf, None, seq_len=length, layer_type=layer_type)
    return tuple(inv_freq.tolist()), float(scaling)
