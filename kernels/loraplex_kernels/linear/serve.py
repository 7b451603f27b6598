"""From a quantized form to the weight that serves it: the fastest that this device has."""

from __future__ import annotations

import torch

from loraplex_kernels.linear.format import BaseWeight
from loraplex_kernels.linear.forms import WeightForm, with_tensors
from loraplex_kernels.linear.registry import kernels
from loraplex_kernels.linear.stored import StoredWeight


def serve(form: WeightForm, dtype: torch.dtype, device: torch.device) -> BaseWeight:
    """The weight of a linear whose form is known already.

    Args:
        form: as the checkpoint has it, or as rounding gave it; on any device, not kept where a kernel packs it anew.
        dtype: of the activations.
        device: where the linear runs.
    """
    form = with_tensors(form, lambda tensor: tensor.to(device))
    for kernel in kernels(device.type):
        if kernel.supported(form, dtype, device):
            return kernel.make(form, dtype, device)
    return StoredWeight(form, dtype, device)
