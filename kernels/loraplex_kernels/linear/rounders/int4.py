"""int4: sixteen even steps through zero for every 128 inputs, their width chosen for the least squared error."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import GroupedInts
from loraplex_kernels.linear.rounders.groups import in_groups, out_of_groups
from loraplex_kernels.linear.rounders.rounder import Rounder, by_rows

GROUP = 128
# bfloat16 has every scale that a float32 weight can need; the codes are rounded to the scale as it is stored.
_SCALE = torch.bfloat16
# What the largest element is clipped to. All sixteen codes and these factors leave 17 % less error than max / 7 does,
# of which the factors are 6; half the steps would leave 0.4 % less still (normal weights, and the demo's).
_CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)


def _round(weight: Tensor) -> GroupedInts:
    return by_rows(weight, _round_rows)


def _round_rows(rows: Tensor) -> GroupedInts:
    groups = in_groups(rows, GROUP)
    most, least = groups.amax(2), groups.amin(2)
    # Eight steps to one side of zero, seven to the other: the larger side gets the eight, by the sign of the scale.
    full = torch.where(most >= -least, most, least) / -8
    scale = full.to(_SCALE)
    error = _error(groups, scale)
    for clip in _CLIPS[1:]:
        scale, error = _better(groups, scale, error, full * clip)
    codes = _codes(groups, scale) - 8
    fitted = (codes * groups).sum(2) / codes.square().sum(2).clamp_min(1)  # the best width for these very codes
    scale, _ = _better(groups, scale, error, fitted)
    return GroupedInts(out_of_groups(_codes(groups, scale), rows.shape[1]).to(torch.uint8), scale, None, GROUP, 4)


def _codes(groups: Tensor, scale: Tensor) -> Tensor:
    """float32 `[N, G, group]`, whole numbers of 0 to 15."""
    width = scale.to(torch.float32)
    return (groups / torch.where(width == 0, 1.0, width)[:, :, None]).round_().clamp_(-8, 7).add_(8)


def _error(groups: Tensor, scale: Tensor) -> Tensor:
    return (_codes(groups, scale).sub_(8) * scale.to(torch.float32)[:, :, None]).sub_(groups).square_().sum(2)


def _better(groups: Tensor, scale: Tensor, error: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """For each group the scale with the smaller error."""
    other = other.to(_SCALE)
    other_error = _error(groups, other)
    return torch.where(other_error < error, other, scale), torch.minimum(other_error, error)


INT4 = Rounder(version=1, round=_round)
