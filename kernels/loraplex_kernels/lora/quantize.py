"""Rows of A and B rounded to int8, as an int8 table holds them."""

from __future__ import annotations

import ctypes

import numpy as np
import torch
from torch import Tensor

from loraplex_kernels import native

# The symmetric range: -128 is left out, so that a weight and its negative round alike.
LIMIT = 127


def quantize_rows(rows: Tensor, target: Tensor) -> Tensor:
    """Round each row by its own scale, `max |row| / 127`, to the nearest integer, halves to the even one.

    On the calling thread alone, since a loader calls it beside the step loop.

    Args:
        rows: float32 `[R, C]` on the CPU, contiguous and finite.
        target: int8 `[R, C]` on the CPU, contiguous; filled.

    Returns:
        float32 `[R]`: what the target's rows are to be multiplied by. 0 for a row of zeros, or of numbers so small
        that their scale would be no normal one.

    Raises:
        ValueError: shapes, dtypes or strides are not these.
    """
    if rows.dtype != torch.float32 or target.dtype != torch.int8 or rows.dim() != 2 or rows.shape != target.shape:
        raise ValueError(f"{rows.dtype} {list(rows.shape)} does not round to {target.dtype} {list(target.shape)}")
    if not (rows.is_contiguous() and target.is_contiguous() and rows.is_cpu and target.is_cpu):
        raise ValueError("the rows and their target must be contiguous and on the CPU")
    scale = torch.empty(rows.shape[0], dtype=torch.float32)
    library = native.library()
    if library is None:
        _by_numpy(rows.numpy(), target.numpy(), scale.numpy())
        return scale
    addresses = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (rows, target, scale))
    library.loraplex_lora_quantize(*addresses, *(ctypes.c_int64(size) for size in rows.shape))
    return scale


def _by_numpy(rows: np.ndarray, target: np.ndarray, scale: np.ndarray) -> None:
    scale[:] = np.abs(rows).max(axis=1, initial=0) / np.float32(LIMIT)
    scale[scale < np.finfo(np.float32).tiny] = 0
    divisor = np.where(scale > 0, scale, np.float32(np.inf))
    target[:] = np.rint(rows / divisor[:, None])
