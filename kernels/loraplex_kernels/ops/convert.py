"""A matrix from one float format to another, on the calling thread alone."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from loraplex_kernels import native

_KIND = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


class _Convert(ctypes.Structure):
    """`struct convert` of csrc/convert.c."""

    _fields_ = (
        ("source", ctypes.c_void_p),
        ("target", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("source_kind", ctypes.c_int64),
        ("target_kind", ctypes.c_int64),
        ("transposed", ctypes.c_int64),
    )


def convert(source: Tensor, target: Tensor, *, transposed: bool = False) -> bool:
    """`target.copy_(source)`, or of its transpose, rounded to the nearest; says whether all of the target is finite.

    One call that holds neither the interpreter lock nor a second thread, whatever the size: made for a loader that
    works beside the step loop.

    Args:
        source: `[rows, columns]` float32, bfloat16 or float16 on the CPU, contiguous.
        target: `[rows, columns]`, or `[columns, rows]` when transposed, of any of these dtypes, on the CPU; its rows
            may lie apart, each of them is contiguous.

    Raises:
        ValueError: shapes, dtypes or strides are not these.
    """
    rows, columns = source.shape
    expected = (columns, rows) if transposed else (rows, columns)
    if target.shape != expected or source.dtype not in _KIND or target.dtype not in _KIND:
        raise ValueError(
            f"{source.dtype} {tuple(source.shape)} does not convert to {target.dtype} {tuple(target.shape)}"
        )
    if not source.is_contiguous() or target.stride(1) != 1 or not (source.is_cpu and target.is_cpu):
        raise ValueError("the source must be contiguous, the target's rows too, both on the CPU")
    library = native.library()
    if library is None:
        target.copy_(source.t() if transposed else source)
        return bool(torch.isfinite(target).all())
    arguments = _Convert(
        *(source.data_ptr(), target.data_ptr(), rows, columns, target.stride(0)),
        *(_KIND[source.dtype], _KIND[target.dtype], transposed),
    )
    return not library.loraplex_convert(ctypes.byref(arguments))
