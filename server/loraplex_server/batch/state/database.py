"""The database beside the files: which there are, and how far each batch has come."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = "batches.sqlite"
SCHEMA = 1

_TABLES = """
CREATE TABLE files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, filename TEXT NOT NULL,
    purpose TEXT NOT NULL, bytes INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER
);
CREATE INDEX files_of ON files (tenant, number);
CREATE TABLE batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, status TEXT NOT NULL,
    expires_at INTEGER NOT NULL, content BLOB NOT NULL
);
CREATE INDEX batches_of ON batches (tenant, number);
CREATE INDEX batches_in ON batches (status);
"""

Statement = tuple[str, Sequence[Any]]


class StateError(Exception):
    """What is kept cannot be read or written."""


class Database:
    """Calls are short, and may come from any thread. One server owns it while it is open.

    Args:
        folder: that it lies in; made where it is missing.

    Raises:
        StateError: it cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = os.path.join(folder, FILE)
            self._connection = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"{folder} cannot be used: {error}") from error
        try:
            self._prepare()
        except (sqlite3.Error, StateError) as error:
            self._connection.close()
            reason = "it is in use by another server" if "locked" in str(error) else str(error)
            raise StateError(f"{folder}/{FILE} cannot be used: {reason}") from error

    def _prepare(self) -> None:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("BEGIN IMMEDIATE")  # takes the lock, which exclusive mode keeps
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA:
            raise StateError(f"a newer version of Loraplex wrote it (format {version}; this one knows {SCHEMA})")
        if version == 0:
            for statement in _TABLES.split(";"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {SCHEMA}")
        self._connection.execute("COMMIT")

    def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a query.

        Raises:
            StateError: it cannot be read.
        """
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise StateError(f"what is kept cannot be read: {error}") from error

    def write(self, *statements: Statement) -> int:
        """All of them, or none; on the disk when this returns.

        Returns:
            Rows that they changed.

        Raises:
            StateError: they cannot be written.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    changed = sum(self._connection.execute(*statement).rowcount for statement in statements)
                    self._connection.execute("COMMIT")
                    return changed
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise StateError(f"the change cannot be kept: {error}") from error

    def close(self) -> None:
        """Let another process have it."""
        with self._lock:
            self._connection.close()
