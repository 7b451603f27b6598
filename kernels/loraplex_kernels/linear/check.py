"""What every linear that hands addresses to a kernel must check first."""

from __future__ import annotations

import torch
from torch import Tensor


def check_linear(x: Tensor, bias: Tensor | None, dtype: torch.dtype, in_features: int, out_features: int) -> None:
    """Raise unless x is `[T, in_features]`, the bias `[out_features]`, both of this dtype.

    Raises:
        ValueError: says what was expected, and what came.
    """
    if x.dtype != dtype or x.dim() != 2 or x.shape[1] != in_features:
        raise ValueError(f"x must be {dtype} [T, {in_features}], not {x.dtype} {list(x.shape)}")
    if bias is not None and (bias.dtype != dtype or bias.shape != (out_features,)):
        raise ValueError(f"bias must be {dtype} [{out_features}], not {bias.dtype} {list(bias.shape)}")
