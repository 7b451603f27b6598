"""Tables whose rows are printed as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """Its name, and the characters that its cells are expected to take."""

    name: str
    width: int = 0

    @property
    def wide(self) -> int:
        """Characters that it has."""
        return max(len(self.name), self.width)


class Table:
    """Readable as text and as Markdown; a cell that is wider than its column only pushes the others on.

    Args:
        columns: known, with their widths, before the first row is.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        print(self._line([column.name for column in self._columns]))
        print(f"|{'|'.join('-' * (column.wide + 2) for column in self._columns)}|", flush=True)

    def row(self, cells: Sequence[object]) -> None:
        """Print one, at once: what measures may be cut off."""
        print(self._line([str(cell) for cell in cells]), flush=True)

    def _line(self, cells: Sequence[str]) -> str:
        padded = [cell.ljust(column.wide) for cell, column in zip(cells, self._columns, strict=True)]
        return f"| {' | '.join(padded)} |"
