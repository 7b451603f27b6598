"""Matrices from one float format to another, on the calling thread alone."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Conversion:
    """`target.copy_(source)`, or of its transpose, rounded to the nearest.

    Args:
        source: `[rows, columns]` float32, bfloat16 or float16 on the CPU, contiguous.
        target: `[rows, columns]`, or `[columns, rows]` when transposed, of any of these dtypes, on the CPU; its rows
            may lie apart, each of them is contiguous.
        transposed: whether the target is the transpose.

    Raises:
        ValueError: shapes, dtypes or strides are not these.
    """

    source: Tensor
    target: Tensor
    transposed: bool = False

    def __post_init__(self) -> None:
        """Check what the kernel takes on trust."""
        source, target = self.source, self.target
        rows, columns = source.shape
        expected = (columns, rows) if self.transposed else (rows, columns)
        if target.shape != expected or source.dtype not in _KIND or target.dtype not in _KIND:
            shapes = tuple(source.shape), tuple(target.shape)
            raise ValueError(f"{source.dtype} {shapes[0]} does not convert to {target.dtype} {shapes[1]}")
        if not source.is_contiguous() or target.stride(1) != 1 or not (source.is_cpu and target.is_cpu):
            raise ValueError("the source must be contiguous, the target's rows too, both on the CPU")


def convert_all(jobs: Sequence[Conversion]) -> list[bool]:
    """Do them, and say of each whether all of its target is finite.

    One call that holds neither the interpreter lock nor a second thread, whatever the sizes: made for a loader that
    works beside the step loop.
    """
    library = native.library()
    if library is None:
        for job in jobs:
            job.target.copy_(job.source.t() if job.transposed else job.source)
        return [bool(torch.isfinite(job.target).all()) for job in jobs]
    arguments = (_Convert * len(jobs))(
        *(
            _Convert(
                *(job.source.data_ptr(), job.target.data_ptr(), *job.source.shape, job.target.stride(0)),
                *(_KIND[job.source.dtype], _KIND[job.target.dtype], job.transposed),
            )
            for job in jobs
        )
    )
    bad = (ctypes.c_uint32 * len(jobs))()
    library.loraplex_convert(arguments, ctypes.c_int64(len(jobs)), bad)
    return [not each for each in bad]


def convert(source: Tensor, target: Tensor, *, transposed: bool = False) -> bool:
    """One `Conversion`, done; says whether all of the target is finite."""
    return convert_all([Conversion(source, target, transposed)])[0]
