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


def row_scales(x: Tensor) -> Tensor:
    """float32 `[R]`: the scale that `round_rows` gives each row of floating-point `[R, C]`, without rounding any."""
    blocks = torch.split(x, max(1, _BLOCK // x.shape[1]))
    return torch.cat([_scales(block.to(torch.float32)) for block in blocks])


def round_rows(x: Tensor, scales: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Each row by its own scale, `max |x| / 127`.

    Args:
        x: `[R, C]`, floating point.
        scales: float32 `[R]`, of longer rows that these are parts of; None: these are whole.

    Returns:
        int8 `[R, C]`, and the float32 `[R]` that the rows are to be multiplied by.
    """
    rounded = torch.empty(x.shape, dtype=torch.int8, device=x.device)
    scale = torch.empty(x.shape[0], dtype=torch.float32, device=x.device) if scales is None else scales
    block = max(1, _BLOCK // x.shape[1])
    for first in range(0, x.shape[0], block):  # what is needed on the way stays small beside a table of the vocabulary
        rows = slice(first, first + block)
        wide = x[rows].to(torch.float32)
        if scales is None:
            scale[rows] = _scales(wide)
        rounded[rows] = (wide / scale[rows, None]).round_()
    return rounded, scale


def row_sums(rounded: Tensor) -> Tensor:
    """int32 `[R]`, of int8 `[R, C]`; torch widens what it sums, four times a table of the vocabulary if it gets all."""
    blocks = torch.split(rounded, max(1, _BLOCK // rounded.shape[1]))
    return torch.cat([block.sum(dim=1, dtype=torch.int32) for block in blocks])


def _scales(wide: Tensor) -> Tensor:
    return wide.abs().amax(dim=1).clamp_min(SMALLEST) / LIMIT
