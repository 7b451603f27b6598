"""From a checkpoint's weight to the form that it is served in."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from loraplex_kernels.linear import int8, packed
from loraplex_kernels.linear.dense import DenseWeight
from loraplex_kernels.linear.format import BaseWeight
from loraplex_kernels.linear.int8 import Int8Weight
from loraplex_kernels.linear.onednn import OnednnInt8Weight
from loraplex_kernels.linear.packed import PackedWeight

Quantization = Literal["none", "int8"]


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
        weight = weight.to(device)
        return Int8Weight(weight, dtype) if int8.packable(weight, dtype) else OnednnInt8Weight(weight)
    raise ValueError(f"quantization must be none or int8, not {quantization!r}")
