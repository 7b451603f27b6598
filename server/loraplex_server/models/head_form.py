"""What form the output layer is served in."""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch

from loraplex_kernels.linear import Quantization, int8
from loraplex_server.models.errors import UnsupportedModelError

HeadQuantization = Literal["auto", "none", "int8"]
HeadForm = Literal["none", "int8"]


def head_form(
    asked: str, form: Quantization, dtype: torch.dtype, device: torch.device, checkpoint: str | None
) -> HeadForm:
    """What `lm_head`, and the embedding where that is tied to it, are rounded to at start.

    Args:
        asked: the setting. "auto" is int8 where the layers' linears are rounded at start too and this machine
            multiplies bytes, else none.
        form: of the layers' linears.
        dtype: of the activations.
        device: where the model runs.
        checkpoint: who has quantized the checkpoint; None: nobody.

    Raises:
        UnsupportedModelError: int8 was asked for a checkpoint that is quantized already.
        ValueError: the setting is none of these, or this device has no kernel for it.
    """
    if asked not in get_args(HeadQuantization):
        raise ValueError(f"head_quantization must be one of {', '.join(get_args(HeadQuantization))}, not {asked!r}")
    runs = int8.available(dtype, device)
    if asked == "auto":
        return "int8" if form != "none" and runs else "none"
    if asked == "int8" and checkpoint is not None:
        raise UnsupportedModelError(
            f"--head-quantization int8: the checkpoint is quantized already, by {checkpoint}, and says itself what "
            "form its output layer has; leave the option out"
        )
    if asked == "int8" and not runs:
        raise ValueError(
            "--head-quantization int8 needs a processor that multiplies bytes (AVX-512 VNNI) and activations in "
            f"float32 or bfloat16; here are {device} and {dtype}; leave the option out"
        )
    return cast(HeadForm, asked)
