"""int4-32: sixteen even steps between the least and the largest of every 32 inputs, one of them at zero."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import GroupedInts
from loraplex_kernels.linear.rounders.groups import in_groups, out_of_groups
from loraplex_kernels.linear.rounders.rounder import Rounder, by_rows
from loraplex_kernels.linear.rounding import SMALLEST

GROUP = 32
# Of scale and zero point. The latter is one of the codes, so that zeros stay zeros and kernels may keep it in a byte.
_PART = torch.bfloat16
# What the range is narrowed to. With the two codes nearest to zero's place tried for each, they leave 3 % less error
# than the whole range does (normal weights, and the demo's).
_CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)


def _round(weight: Tensor) -> GroupedInts:
    return by_rows(weight, _round_rows)


def _round_rows(rows: Tensor) -> GroupedInts:
    groups = in_groups(rows, GROUP)
    least, most = groups.amin(2).clamp_max(0), groups.amax(2).clamp_min(0)
    scale, zero = _parts(least, most, 1.0, torch.floor)
    error = torch.full_like(least, torch.inf)
    for clip in _CLIPS:
        for rounded in (torch.floor, torch.ceil):
            other_scale, other_zero = _parts(least, most, clip, rounded)
            other_error = _error(groups, other_scale, other_zero)
            better = other_error < error
            scale, zero = torch.where(better, other_scale, scale), torch.where(better, other_zero, zero)
            error = torch.minimum(other_error, error)
    codes = out_of_groups(_codes(groups, scale, zero), rows.shape[1]).to(torch.uint8)
    return GroupedInts(codes, scale, zero.to(_PART), GROUP, 4)


def _parts(least: Tensor, most: Tensor, clip: float, rounded: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Scale, and the code that stands for zero, for the range from `least` to `most` narrowed to `clip` of it."""
    scale = ((most - least) * (clip / 15)).clamp_min(SMALLEST).to(_PART)
    return scale, rounded(least * -clip / scale.to(torch.float32)).clamp_(0, 15)


def _codes(groups: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """float32 `[N, G, group]`, whole numbers of 0 to 15."""
    return (groups / scale.to(torch.float32)[:, :, None]).round_().add_(zero[:, :, None]).clamp_(0, 15)


def _error(groups: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    values = _codes(groups, scale, zero).sub_(zero[:, :, None]).mul_(scale.to(torch.float32)[:, :, None])
    return values.sub_(groups).square_().sum(2)


INT4_32 = Rounder(version=1, round=_round)
