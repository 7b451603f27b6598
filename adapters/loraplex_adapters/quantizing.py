"""Adapters rounded to int8 at load: half the bytes, for a small error in every weight.

Each of the `rank` rows of A `[rank, in]` and of B transposed `[rank, out]` has its own scale, the largest of its
numbers divided by 127. The kernels multiply by both scales at once, so only their product is kept, the factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loraplex_adapters.pieces import all_finite
from loraplex_adapters.put import Put
from loraplex_kernels.lora import SiteWeights, quantize_rows


class Staging:
    """Where the floats of one tensor wait until all are there, since a row's scale is known only then.

    The file is read tensor by tensor, so there is room for the largest, and all share it.

    Args:
        sites: weights that are about to be filled.
    """

    def __init__(self, sites: Iterable[SiteWeights]) -> None:
        most = 0
        for weights in sites:
            if weights.factor is not None:
                weights.factor.fill_(1)  # A and B each multiply their scales into it, whichever comes first
                most = max(most, weights.a.numel(), weights.b.numel())
        self._floats = torch.empty(most, dtype=torch.float32)

    @property
    def nbytes(self) -> int:
        """What it takes on the host, for as long as a file is read."""
        return self._floats.numel() * 4

    def put(self, make: Callable[[Tensor], Put], target: Tensor, factor: Tensor | None) -> Put:
        """Where the pieces of an A or B go: to the target itself, or to the staging and then, rounded, to the target.

        Args:
            make: `flat` or `transposed`.
            target: `[rank, columns]`, int8 where there is a factor.
            factor: float32 `[rank]`; None: the target holds floats.
        """
        if factor is None:
            return make(target)
        rows = self._floats[: target.numel()].view(target.shape)
        staged = make(rows)

        def place(first: int, piece: Tensor) -> bool:
            finite = staged.place(first, piece)
            last = first + piece.numel() == rows.numel()
            return finite and (not last or _round(rows, target, factor))

        return Put(staged.row, place, staged.dtype)


def fill_rounded(weights: SiteWeights, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Round a computed update; says whether it is finite.

    Args:
        weights: int8, with a factor.
        a: float32 `[rank, in]`.
        b: float32 `[rank, out]`.

    Raises:
        ValueError: the shapes are not the weights', or these are not int8.
    """
    if weights.factor is None:
        raise ValueError("weights without a factor are not rounded")
    weights.factor.fill_(1)
    rows = [torch.from_numpy(np.ascontiguousarray(each, dtype=np.float32)) for each in (a, b)]
    return all(
        all_finite(each) and _round(each, target, weights.factor)
        for each, target in zip(rows, (weights.a, weights.b), strict=True)
    )


def as_served(weights: SiteWeights) -> tuple[Tensor, Tensor]:
    """A `[rank, in]` and B transposed `[rank, out]` as floats: float32 copies of int8 weights, the others themselves.

    The factor is in A: it belongs to neither, and their product is what they are asked for.
    """
    if weights.factor is None:
        return weights.a, weights.b
    a, b = (each.numpy().astype(np.float32) for each in (weights.a, weights.b))  # numpy starts no threads
    a *= weights.factor.numpy()[:, None]
    return torch.from_numpy(a), torch.from_numpy(b)


def _round(rows: Tensor, target: Tensor, factor: Tensor) -> bool:
    """Says whether the product of the scales is finite."""
    with np.errstate(over="ignore", invalid="ignore"):  # looked for in the result, or was by whoever filled the rows
        np.multiply(factor.numpy(), quantize_rows(rows, target).numpy(), out=factor.numpy())
    return all_finite(factor)
