"""Eight-bit floats with their scales, as several formats have them."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import Float8


def tiled(values: Tensor, scale: Tensor, tile: tuple[int, int] | None, input_scale: Tensor | None = None) -> Float8:
    """Put them together.

    Args:
        values: float8_e4m3fn `[N, K]`.
        scale: of each tile, `[ceil(N / rows), ceil(K / columns)]`, or the only one, of any shape; also in the
            powers of two of float8_e8m0fnu, or in their exponents, uint8.
        tile: rows and columns of one scale; None: one scale for all.
        input_scale: of the activations, one number, where it was measured.
    """
    outputs, inputs = values.shape
    rows, columns = (outputs, inputs) if tile is None else tile
    # The exponents of e8m0 are those of float32, so that both make the same numbers.
    wide = scale.view(torch.float8_e8m0fnu).to(torch.float32) if scale.dtype == torch.uint8 else scale.to(torch.float32)
    grid = wide.reshape(-(-outputs // rows), -(-inputs // columns))
    return Float8(values.clone(), grid.clone(), rows, columns, None if input_scale is None else float(input_scale))
