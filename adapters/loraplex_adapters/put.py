"""What becomes of one tensor of the file, piece by piece as it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Put:
    """Where the pieces of one tensor go.

    Args:
        row: elements that must come together.
        place: takes the index of the first element, and the elements in the file's dtype.
        target: full of finite numbers when all pieces are placed, or the adapter is refused; None: nothing to check.
    """

    row: int
    place: Callable[[int, Tensor], None]
    target: Tensor | None


def flat(target: Tensor) -> Put:
    """Copied in order, converted to the target's dtype."""
    line = target.view(-1)

    def place(first: int, piece: Tensor) -> None:
        line[first : first + piece.numel()].copy_(piece)

    return Put(1, place, target)


def transposed(target: Tensor) -> Put:
    """The file has the transpose of the target, which is `[columns, rows]`."""
    columns = target.shape[0]

    def place(first: int, piece: Tensor) -> None:
        row, count = first // columns, piece.numel() // columns
        target[:, row : row + count].copy_(piece.view(count, columns).t())

    return Put(columns, place, target)


def skipped() -> Put:
    """Hashed with the rest, and not needed: what it holds is in memory anyway."""
    return Put(1, lambda first, piece: None, None)


def kept(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Put, Tensor]:
    """The whole tensor on the host, floats as float32 and integers as they are, for what is computed from it."""
    whole = torch.empty(shape, dtype=torch.float32 if dtype.is_floating_point else dtype)
    put = flat(whole)
    return (put if dtype.is_floating_point else Put(1, put.place, None)), whole
