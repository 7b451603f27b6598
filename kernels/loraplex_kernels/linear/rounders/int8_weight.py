"""int8-weight: eight bits a weight and a scale an output; activations stay as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import GroupedInts
from loraplex_kernels.linear.rounders.rounder import Rounder, by_rows
from loraplex_kernels.linear.rounding import round_rows


def _round(weight: Tensor) -> GroupedInts:
    return by_rows(weight, _round_rows)


def _round_rows(rows: Tensor) -> GroupedInts:
    values, scale = round_rows(rows)
    codes = (values.view(torch.uint8) + 128).contiguous()  # wraps around: -127 to 127 becomes 1 to 255
    return GroupedInts(codes, scale[:, None], None, rows.shape[1], 8)


INT8_WEIGHT = Rounder(version=1, round=_round)
