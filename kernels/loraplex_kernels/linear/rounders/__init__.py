"""Floating-point weights rounded on the fly to the forms that are served."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import WeightForm
from loraplex_kernels.linear.rounders.fp8 import FP8
from loraplex_kernels.linear.rounders.int4 import INT4
from loraplex_kernels.linear.rounders.int4_32 import INT4_32
from loraplex_kernels.linear.rounders.int8_weight import INT8_WEIGHT
from loraplex_kernels.linear.rounders.nf4 import NF4
from loraplex_kernels.linear.rounders.rounder import Rounder

ROUNDERS: Mapping[str, Rounder] = {
    "int4": INT4,
    "int4-32": INT4_32,
    "nf4": NF4,
    "int8-weight": INT8_WEIGHT,
    "fp8": FP8,
}

__all__ = ["ROUNDERS", "Rounder", "round_weight"]


def round_weight(weight: Tensor, form: str) -> WeightForm:
    """Round a weight to one of the forms of `ROUNDERS`.

    Args:
        weight: `[N, K]`, floating point, on any device; the result lies there too.
        form: its name.

    Raises:
        ValueError: there is no such form, it has no place for this weight, or some of the weight is no number.
    """
    if form not in ROUNDERS:
        raise ValueError(f"a weight is rounded to one of {', '.join(ROUNDERS)}, not to {form!r}")
    if not torch.isfinite(weight).all():
        raise ValueError("the weight has values that are infinite or no numbers, which no few bits can stand for")
    return ROUNDERS[form].round(weight)
