"""The way in: a folder or a hub id becomes a Decoder."""

from __future__ import annotations

from typing import cast, get_args

import torch

from loraplex_kernels.linear import Quantization
from loraplex_server.models.build import Target, build
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.describe import describe
from loraplex_server.models.folder import model_folder


@torch.inference_mode()
def load_model(
    path_or_id: str, *, device: torch.device, dtype: torch.dtype, quantization: str, max_model_len: int | None
) -> Decoder:
    """Read a base model; its config first, so that what is not supported is refused before a weight is read.

    Args:
        path_or_id: a checkpoint folder in transformers' layout (config.json, safetensors single or sharded), or a
            Hugging Face hub id.
        device: where it runs.
        dtype: of the activations, and of the weights that stay floating point.
        quantization: "none", or the form of the layers' linears ("int8"); embedding and `lm_head` are not quantized.
        max_model_len: the longest sequence to serve; None for the longest that the model was made for. For models with
            LongRoPE it also chooses the factors: see `families.rope.rope_config`.

    Raises:
        UnsupportedModelError: the architecture, or something that the config asks of it, is not supported.
        CheckpointError: files are missing, unreadable, pickled, or do not fit the config.
        ValueError: `max_model_len` or `quantization` is out of range, or the device cannot run the form.
    """
    if quantization not in get_args(Quantization):
        raise ValueError(f"quantization must be one of {', '.join(get_args(Quantization))}, not {quantization!r}")
    config = describe(model_folder(path_or_id, weights=False), max_model_len)
    with Checkpoint(model_folder(path_or_id)) as checkpoint:
        return build(config, checkpoint, Target(device, dtype, cast(Quantization, quantization)))
