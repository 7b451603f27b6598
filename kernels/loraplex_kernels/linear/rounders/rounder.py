"""A way to round a floating-point weight to few bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import WeightForm

Form = TypeVar("Form", bound=WeightForm)

# Elements that are worked on at a time: a few megabytes of float32 on a CPU, enough to fill a GPU.
_BLOCK = {"cpu": 1 << 20}
_DEVICE_BLOCK = 1 << 25


@dataclass(frozen=True)
class Rounder:
    """`version` changes whenever the same weight would come out otherwise, so that kept results are made anew.

    `round` takes a floating-point weight `[N, K]` on any device, and raises ValueError where the form has no place
    for it.
    """

    version: int
    round: Callable[[Tensor], WeightForm]


def by_rows(weight: Tensor, round_rows: Callable[[Tensor], Form]) -> Form:
    """Round a weight a few rows at a time, so that what is needed on the way stays small.

    Args:
        weight: `[N, K]`, floating point.
        round_rows: takes float32 `[rows, K]`; no row's result may depend on other rows.
    """
    block = max(1, _BLOCK.get(weight.device.type, _DEVICE_BLOCK) // weight.shape[1])
    parts = [round_rows(rows.to(torch.float32)) for rows in torch.split(weight, block)]
    return type(parts[0]).stack(parts) if len(parts) > 1 else parts[0]
