"""From a checkpoint's weight to the form that it is served in."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from loraplex_kernels.linear import int8, packed
from loraplex_kernels.linear.dense import DenseWeight
from loraplex_kernels.linear.format import BaseWeight
from loraplex_kernels.linear.int8 import Int8Weight
from loraplex_kernels.linear.onednn import OnednnInt8Weight
from loraplex_kernels.linear.packed import PackedWeight
from loraplex_kernels.linear.rounders import ROUNDERS, round_weight
from loraplex_kernels.linear.serve import serve

# none: as the checkpoint has it. int8: activations are rounded too (W8A8, CPU only). The others round the weights; of
# fp8 also the activations, where the device multiplies eight-bit floats.
Quantization = Literal["none", "int4", "int4-32", "nf4", "int8", "int8-weight", "fp8"]


def check_device(quantization: Quantization, device: torch.device) -> None:
    """Raise before anything is read where the device cannot run a form.

    Raises:
        ValueError: says which one runs there.
    """
    if quantization == "int8" and device.type != "cpu":
        raise ValueError(
            f"quantization int8 runs on the CPU only, not on {device}; int8-weight has the same weights, and fp8 too "
            "rounds activations"
        )


def make_weight(weight: Tensor, quantization: Quantization, dtype: torch.dtype, device: torch.device) -> BaseWeight:
    """Store a linear's weight in the form asked for.

    Args:
        weight: `[N, K]`, floating point, on any device; not kept where the form is another.
        quantization: the form.
        dtype: of the activations, and of the weight where it stays floating point.
        device: where the linear runs.

    Raises:
        ValueError: the form is unknown, or does not run on the device.
    """
    if quantization == "none":
        weight = weight.to(device=device, dtype=dtype)
        return PackedWeight(weight) if packed.packable(weight) else DenseWeight(weight.contiguous())
    if quantization == "int8":
        return make_int8(weight, dtype, device)
    if quantization in ROUNDERS:
        return serve(round_weight(weight.to(device), quantization), dtype, device)
    raise ValueError(f"quantization must be one of {', '.join(get_args(Quantization))}, not {quantization!r}")


def make_int8(
    weight: Tensor, dtype: torch.dtype, device: torch.device, scales: Tensor | None = None
) -> Int8Weight | OnednnInt8Weight:
    """`make_weight` for int8, of a weight that may be a part of a larger one.

    Args:
        weight: `[N, K]`, floating point; not kept.
        dtype: of the activations.
        device: where the linear runs.
        scales: float32 `[N]`, of longer rows that the weight's are parts of; None: they are whole.

    Raises:
        ValueError: int8 does not run on the device.
    """
    check_device("int8", device)
    weight = weight.to(device)
    if int8.packable(weight, dtype):
        return Int8Weight(weight, dtype, scales=scales)
    return OnednnInt8Weight(weight, scales)
