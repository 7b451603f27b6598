"""The weights of one adapter at one site, as views into its flat buffer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_kernels.adapter_layout import Placement


@dataclass(frozen=True)
class SiteWeights:
    """What one cell of the table stands for."""

    a: Tensor  # [rank, in]
    b: Tensor  # [rank, out]: PEFT's lora_B, transposed
    magnitude: Tensor | None  # float32 [out]: DoRA's m / ||W + scale B A||, None for plain LoRA
    scale: float
    factor: Tensor | None = None  # float32 [rank]: A and B are int8, and B A is sum over r of factor[r] * B[r]^T A[r]


def site_weights(buffer: Tensor, placement: Placement, dtype: torch.dtype) -> SiteWeights:
    """Views of one site's arrays; writing to them fills the buffer.

    Args:
        buffer: uint8 `[layout.nbytes]`.
        placement: of the site, from the layout that the buffer was made for.
        dtype: of A and B, where they are not int8.
    """
    shape = placement.shape
    of_weights = dtype if placement.factor is None else torch.int8

    def view(offset: int, rows: int, columns: int, of: torch.dtype) -> Tensor:
        nbytes = rows * columns * of.itemsize
        return buffer[offset : offset + nbytes].view(of).view(rows, columns)

    return SiteWeights(
        a=view(placement.a, shape.rank, shape.in_features, of_weights),
        b=view(placement.b, shape.rank, shape.out_features, of_weights),
        magnitude=None
        if placement.magnitude is None
        else view(placement.magnitude, 1, shape.out_features, torch.float32)[0],
        scale=shape.scale,
        factor=None if placement.factor is None else view(placement.factor, 1, shape.rank, torch.float32)[0],
    )
