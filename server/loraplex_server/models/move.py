"""What a term adds to some rows of a tensor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Move:
    """An addition that was worked out from the base's own output, to be made once low rank was added."""

    rows: Tensor  # int64 [n]
    columns: slice | Tensor  # int64 [k] where it is a tensor
    by: Tensor  # float32 [n, k], or [n, ...] where all columns are meant

    def add_to(self, y: Tensor) -> None:
        """Add it to `[T, N]`, or `[T, ...]`, in place: in float32, rounded once to y's dtype."""
        if isinstance(self.columns, slice):
            view = y[:, self.columns]
            view.index_copy_(0, self.rows, (view.index_select(0, self.rows).float() + self.by).to(y.dtype))
            return
        cells = self.rows[:, None], self.columns[None, :]
        y[cells] = (y[cells].float() + self.by).to(y.dtype)
