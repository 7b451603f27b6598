"""Signed integers to the unsigned codes of `GroupedInts`."""

from __future__ import annotations

import torch
from torch import Tensor


def unsigned(values: Tensor, bits: int) -> Tensor:
    """int8 of any shape, `-2 ** (bits - 1)` and up, to uint8 from 0.

    Raises:
        ValueError: a value takes more bits.
    """
    middle = 1 << (bits - 1)
    if bits < 8 and bool(((values < -middle) | (values >= middle)).any()):
        raise ValueError(f"values from {int(values.min())} to {int(values.max())} are no integers of {bits} bits")
    return values.view(torch.uint8) + middle  # which wraps around where it should
