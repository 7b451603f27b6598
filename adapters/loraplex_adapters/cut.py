"""A part of an array, along one of its axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loraplex_adapters.shard import Span, width


@dataclass(frozen=True)
class Cut:
    """Args: axis: that is cut. spans: what is left along it, in this order; None: everything."""

    axis: int = 0
    spans: tuple[Span, ...] | None = None

    def shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Of what is left of an array."""
        if self.spans is None:
            return whole
        return (*whole[: self.axis], width(self.spans), *whole[self.axis + 1 :])

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Fill a contiguous CPU tensor with what is left of another; numpy copies on the calling thread."""
        whole, part = _bytes(source), _bytes(target)
        spans = ((0, whole.shape[self.axis]),) if self.spans is None else self.spans
        before = (slice(None),) * self.axis
        at = 0
        for first, last in spans:
            part[(*before, slice(at, at + last - first))] = whole[(*before, slice(first, last))]
            at += last - first


def _bytes(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Whatever its dtype: uint8 `[*shape, itemsize]`, the same memory."""
    shape = (*tensor.shape, tensor.itemsize)
    if not tensor.numel():
        return np.empty(shape, dtype=np.uint8)
    return tensor.view(-1).view(torch.uint8).numpy().reshape(shape)
