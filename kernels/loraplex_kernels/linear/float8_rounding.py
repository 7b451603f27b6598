"""Rounding rows to e4m3."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.linear.rounding import SMALLEST

LIMIT = 448.0  # the greatest e4m3


def round_rows_float8_naive(x: Tensor, input_scale: float | None) -> tuple[Tensor, Tensor]:
    """Each row by its own scale, or all by one that a checkpoint has measured.

    Semantics: `scale = max |x| / 448` of the row or `input_scale`, `q = e4m3(clamp(x / scale, -448, 448))`.

    Args:
        x: `[M, K]`, floating point.
        input_scale: None for a scale each.

    Returns:
        float8_e4m3fn `[M, K]`, and the float32 `[M, 1]` that the rows are to be multiplied by.
    """
    wide = x.to(torch.float32)
    most = wide.abs().amax(dim=1, keepdim=True).clamp_min(SMALLEST)
    scale = most / torch.full_like(most, LIMIT)  # by a number, a GPU would multiply with its rounded reciprocal
    if input_scale is not None:
        scale = torch.full_like(scale, input_scale)
    return (wide / scale).clamp(-LIMIT, LIMIT).to(torch.float8_e4m3fn), scale
