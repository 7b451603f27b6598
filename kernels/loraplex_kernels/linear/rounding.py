"""Rounding rows to int8."""

from __future__ import annotations

import torch
from torch import Tensor

# The symmetric range: -128 is left out, so that a weight and its negative round alike.
LIMIT = 127
# So that a row of zeros has a scale to be divided by.
SMALLEST = 1e-30


def round_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each row by its own scale, `max |x| / 127`.

    Args:
        x: `[R, C]`, floating point.

    Returns:
        int8 `[R, C]`, and the float32 `[R]` that the rows are to be multiplied by.
    """
    wide = x.to(torch.float32)
    scale = wide.abs().amax(dim=1).clamp_min(SMALLEST) / LIMIT
    return (wide / scale[:, None]).round().to(torch.int8), scale
