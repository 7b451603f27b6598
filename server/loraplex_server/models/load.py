"""The way in: a folder or a hub id becomes a Decoder."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import torch

from loraplex_kernels.group import ALONE, Group
from loraplex_kernels.linear import Quantization
from loraplex_kernels.linear.quantize import check_device
from loraplex_server.models.build import build
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.describe import describe, read_config
from loraplex_server.models.errors import UnsupportedModelError
from loraplex_server.models.folder import model_folder
from loraplex_server.models.head_form import head_form
from loraplex_server.models.linear_source import LinearSource
from loraplex_server.models.linear_weights import Target
from loraplex_server.models.mapped import trim_heap
from loraplex_server.models.progress import progress
from loraplex_server.models.quantized.settings import find_settings
from loraplex_server.models.whole_weights import WholeWeights

logger = logging.getLogger(__name__)

AUTO = "auto"


@torch.inference_mode()
def load_model(
    path_or_id: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    quantization: str = AUTO,
    head_quantization: str = AUTO,
    max_model_len: int | None = None,
    quantization_cache: Path | None = None,
    group: Group = ALONE,
) -> Decoder:
    """Read a base model; its config first, so that what is not supported is refused before a weight is read.

    Args:
        path_or_id: a checkpoint folder in transformers' layout (config.json, safetensors single or sharded), or a
            Hugging Face hub id.
        device: where it runs.
        dtype: of the activations, and of the weights that stay floating point.
        quantization: "auto" serves the checkpoint as it is, quantized or not. Any other is the form that the layers'
            linears of a floating-point checkpoint are rounded to.
        head_quantization: what its `lm_head`, and an embedding that is tied to it, are rounded to: see `head_form`.
        max_model_len: the longest sequence to serve; None for the longest that the model was made for. For models with
            LongRoPE it also chooses the factors: see `families.rope.rope_config`.
        quantization_cache: folder that keeps rounded weights for the next start; None keeps none.
        group: the ranks that it is divided among; each reads its own part.

    Raises:
        UnsupportedModelError: the architecture, or something that the config asks of it, is not supported; or the
            checkpoint is quantized already, and another form was asked for.
        CheckpointError: files are missing, unreadable, pickled, or do not fit the config.
        ValueError: `max_model_len`, `quantization` or `head_quantization` is out of range, or the device cannot run the
            form.
    """
    form = _form(quantization, device)
    folder = model_folder(path_or_id, weights=False)
    config, raw = describe(folder, max_model_len), read_config(folder)
    if quantization != AUTO:
        _refuse_quantized(raw, folder, quantization)
    quantizer = find_settings(raw, folder)
    head = head_form(head_quantization, form, dtype, device, None if quantizer is None else quantizer.method)
    source = LinearSource(model_folder(path_or_id), Target(device, dtype, form, head), raw, quantization_cache)
    with source.open() as weights:
        started = time.monotonic()
        with progress(f"loading {path_or_id}, quantization: {weights.name}", config.num_layers) as step:
            decoder = build(config, weights, step, group)
    if group.size > 1:
        decoder.base = WholeWeights(decoder, source.open)
    trim_heap()
    logger.info("loaded in %.1f s: %s", time.monotonic() - started, weights.summary())
    if weights.unpacked:
        logger.warning(
            "no kernel for %s with %s on %s: such weights are unpacked for each product, so every step waits for that, "
            "even if only one linear of the model has one",
            weights.name,
            dtype,
            device,
        )
    return decoder


def _form(quantization: str, device: torch.device) -> Quantization:
    choices = (AUTO, *get_args(Quantization))
    if quantization not in choices:
        raise ValueError(f"quantization must be one of {', '.join(choices)}, not {quantization!r}")
    form = cast(Quantization, "none" if quantization == AUTO else quantization)
    check_device(form, device)
    return form


def _refuse_quantized(raw: Mapping[str, Any], folder: Path, quantization: str) -> None:
    settings = find_settings(raw, folder)
    if settings is not None:
        why = "and rounding it once more would add a second error to the first"
        if quantization == "none":
            why = "so there are no floating-point weights in it"
        raise UnsupportedModelError(
            f"--quantization {quantization}: the checkpoint is quantized already, by {settings.method} "
            f"({settings.source}), {why}; leave out --quantization to serve it as it is, or serve the floating-point "
            f"checkpoint; if its weights are floating point all the same, remove {settings.source}"
        )
