"""Choosing tokens through the compiled CPU kernel (csrc/sample.c)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from loraplex_kernels.launch import launch
from loraplex_kernels.ops.sampling.columns import LARGEST_VOCABULARY, Columns

_DTYPES = Columns(torch.float32, torch.float64, torch.int32, torch.float64, torch.float64, torch.int32)  # type: ignore[arg-type]


class _Draw(ctypes.Structure):
    """`struct draw`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("token", "logits", *Columns._fields)),
        ("rows", ctypes.c_int64),
        ("stride", ctypes.c_int64),
    )


def draw_native(library: ctypes.CDLL, logits: Tensor, columns: Columns) -> Tensor:
    """Choose a token for each row: greedy ones in one pass over their logits, the others in a few, without a sort.

    Semantics: as `triton_draw.draw_triton`, so that a seed draws the same token on a CPU as on a GPU.

    Args:
        library: that holds the kernel.
        logits: float32 `[R, V]` on the CPU, columns contiguous.
        columns: of the R rows, on the CPU, contiguous.

    Returns:
        int64 `[R]`: the tokens, -1 where a row's logits are not finite: NaN or inf among them, or nothing but -inf.

    Raises:
        ValueError: the logits are not float32 with contiguous rows, there are more than 2^20 a row, the columns are not
            as `Columns` has them, or a row's vocabulary is empty or wider than the logits.
    """
    rows, width = logits.shape
    if logits.dtype != torch.float32 or not logits.is_cpu or (width > 1 and logits.stride(1) != 1):
        raise ValueError(f"logits must be float32 [R, V] with contiguous rows, not {logits.dtype} {list(logits.shape)}")
    if width > LARGEST_VOCABULARY:
        raise ValueError(f"a vocabulary of {width} tokens is larger than {LARGEST_VOCABULARY}")
    for name, column, dtype in zip(Columns._fields, columns, _DTYPES, strict=True):
        if column.dtype != dtype or column.shape != (rows,) or not column.is_contiguous():
            raise ValueError(f"{name} must be {dtype} [{rows}], not {column.dtype} {list(column.shape)}")
    tokens = torch.empty(rows, dtype=torch.int64)
    if rows:
        low, high = columns.vocab.aminmax()
        if not 0 < int(low) <= int(high) <= width:
            raise ValueError(f"vocabularies of {int(low)} to {int(high)} tokens do not fit logits of {width}")
        pointers = (tensor.data_ptr() for tensor in (tokens, logits, *columns))
        launch(library.loraplex_draw, _Draw(*pointers, rows, logits.stride(0)))
    return tokens
