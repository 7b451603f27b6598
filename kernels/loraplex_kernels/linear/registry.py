"""Which kernels there are for quantized weights, by device; the first that takes a form serves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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
    if device == "cuda":
        # Eight-bit products before eight-bit weights alone: they read the same bytes, and need no unpacking.
        from loraplex_kernels.linear.float8 import Float8Weight
        from loraplex_kernels.linear.triton_float8 import TritonFloat8Weight
        from loraplex_kernels.linear.triton_grouped import TritonGroupedWeight
        from loraplex_kernels.linear.triton_lookup import TritonLookupWeight

        kinds: tuple[Any, ...] = (Float8Weight, TritonGroupedWeight, TritonLookupWeight, TritonFloat8Weight)
        return tuple(Kernel(kind.supported, kind) for kind in kinds)
    return ()
