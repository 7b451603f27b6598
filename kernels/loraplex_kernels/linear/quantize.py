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
        check_device(quantization, device)
        weight = weight.to(device)
        return Int8Weight(weight, dtype) if int8.packable(weight, dtype) else OnednnInt8Weight(weight)
    if quantization in ROUNDERS:
        return serve(round_weight(weight.to(device), quantization), dtype, device)
    raise ValueError(f"quantization must be one of {', '.join(get_args(Quantization))}, not {quantization!r}")
