"""Which kernels there are for quantized weights, by device; the first that takes a form serves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from loraplex_kernels.linear import int4
from loraplex_kernels.linear.format import BaseWeight
from loraplex_kernels.linear.forms import WeightForm


@dataclass(frozen=True)
class Kernel:
    """One way to serve some forms on one kind of device."""

    supported: Callable[[WeightForm, torch.dtype, torch.device], bool]
    make: Callable[[WeightForm, torch.dtype, torch.device], BaseWeight]


@lru_cache
def kernels(device: str) -> tuple[Kernel, ...]:
    """Those of a kind of device, the best first; their modules are imported where they can run, and nowhere else."""
    if device == "cpu":
        return (
            Kernel(
                lambda form, dtype, _: int4.packable(form, dtype),
                lambda form, dtype, _: int4.Int4Weight(form, dtype),
            ),
        )
    return ()
