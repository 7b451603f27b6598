"""Rows cut into groups of inputs, the last one filled up."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def in_groups(rows: Tensor, group: int) -> Tensor:
    """`[N, K]` to `[N, ceil(K / group), group]`; a last group that is shorter repeats its last element."""
    missing = -rows.shape[1] % group
    if missing:
        rows = F.pad(rows[:, None], (0, missing), mode="replicate")[:, 0]
    return rows.view(rows.shape[0], -1, group)


def out_of_groups(groups: Tensor, inputs: int) -> Tensor:
    """`[N, groups, group]` back to `[N, inputs]`, contiguous."""
    return groups.reshape(groups.shape[0], -1)[:, :inputs].contiguous()
