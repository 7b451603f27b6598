"""Which requests have been met, and which have their answer: for millions of them, on the disk."""

from __future__ import annotations

import sqlite3

from loraplex_server.batch.answer import Answer

CACHE_KIB = 32 * 1024
_TABLES = """
CREATE TABLE answered (custom_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE refused (number INTEGER PRIMARY KEY);
CREATE TABLE met (custom_id TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
"""


class Seen:
    """A temporary database: SQLite keeps it in memory while it is small, and removes it at the end."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.executescript(_TABLES)

    def note(self, answer: Answer) -> None:
        """An answer that is there already."""
        if answer.error is not None and answer.error.line is not None:
            self._database.execute("INSERT OR IGNORE INTO refused VALUES (?)", (answer.error.line,))
        elif answer.custom_id is not None:
            self._database.execute("INSERT OR IGNORE INTO answered VALUES (?)", (answer.custom_id,))

    def is_answered(self, custom_id: str) -> bool:
        """Whether its answer was there."""
        return self._has("SELECT 1 FROM answered WHERE custom_id = ?", custom_id)

    def is_refused(self, number: int) -> bool:
        """Whether it was said that this line is no request."""
        return self._has("SELECT 1 FROM refused WHERE number = ?", number)

    def meet(self, custom_id: str, number: int) -> int | None:
        """The line that had this name before; None where this is the first."""
        if self._database.execute("INSERT OR IGNORE INTO met VALUES (?, ?)", (custom_id, number)).rowcount:
            return None
        first = self._database.execute("SELECT number FROM met WHERE custom_id = ?", (custom_id,)).fetchone()
        return int(first[0])

    def meet_anew(self) -> None:
        """Before the same lines are met again."""
        self._database.execute("DELETE FROM met")

    def close(self) -> None:
        """Remove it."""
        self._database.close()

    def _has(self, query: str, value: str | int) -> bool:
        return self._database.execute(query, (value,)).fetchone() is not None
