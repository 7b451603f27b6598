"""int4-32: sixteen even steps between the least and the largest of every 32 inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import GroupedInts
from loraplex_kernels.linear.rounders.groups import in_groups, out_of_groups
from loraplex_kernels.linear.rounders.rounder import Rounder, by_rows

GROUP = 32
# Scale and zero point in bfloat16: five bits a weight in all. A zero point between two codes leaves 3 % less error
# than a whole one.
_PART = torch.bfloat16
# What the range is narrowed to, about its middle: 3.5 % less error than the whole range always.
_CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)


def _round(weight: Tensor) -> GroupedInts:
    return by_rows(weight, _round_rows)


def _round_rows(rows: Tensor) -> GroupedInts:
    groups = in_groups(rows, GROUP)
    most, least = groups.amax(2), groups.amin(2)
    middle, width = (most + least) / 2, (most - least) / 15
    scale, zero = _parts(middle, width)
    error = _error(groups, scale, zero)
    for clip in _CLIPS[1:]:
        other_scale, other_zero = _parts(middle, width * clip)
        other_error = _error(groups, other_scale, other_zero)
        better = other_error < error
        scale, zero = torch.where(better, other_scale, scale), torch.where(better, other_zero, zero)
        error = torch.minimum(other_error, error)
    codes = out_of_groups(_codes(groups, scale, zero), rows.shape[1]).to(torch.uint8)
    return GroupedInts(codes, scale, zero, GROUP, 4)


def _parts(middle: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point whose codes 0 to 15 lie about the middle."""
    # Elements that are all but alike have no width of their own: one that keeps the zero point near the codes.
    least = middle.abs() / 64
    scale = torch.maximum(width, least).clamp_min(1e-30).to(_PART)
    return scale, (7.5 - middle / scale.to(torch.float32)).to(_PART)


def _codes(groups: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """float32 `[N, G, group]`, whole numbers of 0 to 15."""
    scale, zero = (part.to(torch.float32)[:, :, None] for part in (scale, zero))
    return (groups / scale).add_(zero).round_().clamp_(0, 15)


def _error(groups: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    values = _codes(groups, scale, zero)
    scale, zero = (part.to(torch.float32)[:, :, None] for part in (scale, zero))
    return values.sub_(zero).mul_(scale).sub_(groups).square_().sum(2)


INT4_32 = Rounder(version=1, round=_round)
