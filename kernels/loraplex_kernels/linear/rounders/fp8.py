"""fp8: eight-bit floats of four exponent bits, a scale an output; activations are rounded by row on some GPUs."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import Float8
from loraplex_kernels.linear.rounders.rounder import Rounder, by_rows
from loraplex_kernels.linear.rounding import SMALLEST

_LARGEST = torch.finfo(torch.float8_e4m3fn).max


def _round(weight: Tensor) -> Float8:
    return by_rows(weight, _round_rows)


def _round_rows(rows: Tensor) -> Float8:
    scale = rows.abs().amax(1, keepdim=True).clamp_min(SMALLEST) / _LARGEST
    # What lies past the largest by rounding of the quotient would become NaN.
    values = (rows / scale).clamp_(-_LARGEST, _LARGEST).to(torch.float8_e4m3fn)
    return Float8(values, scale, 1, rows.shape[1])


FP8 = Rounder(version=1, round=_round)
