"""What becomes of one tensor of the file, piece by piece as it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_kernels.ops.convert import Conversion, convert


@dataclass(frozen=True)
class Put:
    """Where the pieces of one tensor go.

    Args:
        row: elements that must come together.
        place: takes the index of the first element, and the elements in the file's dtype; says whether what they became
            is finite.
        dtype: that they become; for the message where one is not.
        whole: where nothing is done but to convert it: the conversion of all its elements, given as one row.
    """

    row: int
    place: Callable[[int, Tensor], bool]
    dtype: torch.dtype
    whole: Callable[[Tensor], Conversion] | None = None


def flat(target: Tensor) -> Put:
    """Copied in order, converted to the target's dtype."""
    line = target.view(1, -1)

    def place(first: int, piece: Tensor) -> bool:
        return convert(piece.view(1, -1), line[:, first : first + piece.numel()])

    return Put(1, place, target.dtype, lambda elements: Conversion(elements, line))


def transposed(target: Tensor) -> Put:
    """The file has the transpose of the target, which is `[columns, rows]`."""
    columns = target.shape[0]

    def place(first: int, piece: Tensor) -> bool:
        row, count = first // columns, piece.numel() // columns
        return convert(piece.view(count, columns), target[:, row : row + count], transposed=True)

    return Put(
        columns, place, target.dtype, lambda elements: Conversion(elements.view(-1, columns), target, transposed=True)
    )


def skipped() -> Put:
    """Hashed with the rest, and not needed: what it holds is in memory anyway."""
    return Put(1, lambda first, piece: True, torch.float32)


def kept(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Put, Tensor]:
    """The whole tensor on the host, floats as float32 and integers as they are, for what is computed from it."""
    if dtype.is_floating_point:
        whole = torch.empty(shape, dtype=torch.float32)
        return flat(whole), whole
    whole = torch.empty(shape, dtype=dtype)
    line = whole.view(-1)

    def place(first: int, piece: Tensor) -> bool:
        line[first : first + piece.numel()].copy_(piece)
        return True

    return Put(1, place, dtype), whole
