"""Pages of a table, by OpenAI's cursors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loraplex_server.batch.state.database import Database


@dataclass(frozen=True)
class Cursor:
    """Args: after: id of the last one on the page before. limit: of rows. newest_first: the order."""

    after: str | None
    limit: int
    newest_first: bool = True


class UnknownCursorError(Exception):
    """There is nothing with that id to go on from."""


def read_page(
    database: Database, table: str, columns: str, where: Sequence[tuple[str, Any]], cursor: Cursor
) -> tuple[list[tuple[Any, ...]], bool]:
    """Rows, and whether there are more.

    Args:
        table, columns: names in the database. where: columns and the values that they must have, the tenant's first.

    Raises:
        UnknownCursorError: the cursor names nothing of this tenant.
        StateError: the database cannot be read.
    """
    conditions, values = [f"{column} = ?" for column, _ in where], [value for _, value in where]
    if cursor.after is not None:
        query = f"SELECT number FROM {table} WHERE id = ? AND {conditions[0]}"
        place = database.read(query, cursor.after, values[0])
        if not place:
            raise UnknownCursorError(cursor.after)
        conditions.append(f"number {'<' if cursor.newest_first else '>'} ?")
        values.append(place[0][0])
    order = "DESC" if cursor.newest_first else "ASC"
    query = f"SELECT {columns} FROM {table} WHERE {' AND '.join(conditions)} ORDER BY number {order} LIMIT ?"
    rows = database.read(query, *values, cursor.limit + 1)
    return rows[: cursor.limit], len(rows) > cursor.limit
