"""Rounding rows to int8."""

from __future__ import annotations

import torch
from torch import Tensor

# The symmetric range: -128 is left out, so that a weight and its negative round alike.
LIMIT = 127
# So that a row of zeros has a scale to be divided by.
SMALLEST = 1e-30
# Elements that are worked on at a time.
_BLOCK = 1 << 22


def round_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each row by its own scale, `max |x| / 127`.

    Args:
        x: `[R, C]`, floating point.

    Returns:
        int8 `[R, C]`, and the float32 `[R]` that the rows are to be multiplied by.
    """
    rounded = torch.empty(x.shape, dtype=torch.int8, device=x.device)
    scale = torch.empty(x.shape[0], dtype=torch.float32, device=x.device)
    block = max(1, _BLOCK // x.shape[1])
    for first in range(0, x.shape[0], block):  # what is needed on the way stays small beside a table of the vocabulary
        rows = slice(first, first + block)
        wide = x[rows].to(torch.float32)
        scale[rows] = wide.abs().amax(dim=1).clamp_min(SMALLEST) / LIMIT
        rounded[rows] = (wide / scale[rows, None]).round_()
    return rounded, scale
