"""The file that remembers names."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from loraplex_adapters.errors import RegistryError

FILE = "adapters.sqlite"
SCHEMA = 1

_TABLES = """
CREATE TABLE adapters (
    name TEXT PRIMARY KEY, source TEXT NOT NULL, revision TEXT NOT NULL, created INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE pins (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE aliases (alias TEXT PRIMARY KEY, target TEXT NOT NULL) WITHOUT ROWID;
"""


def connect(folder: Path) -> sqlite3.Connection:
    """Open the database of a state folder, and make what is missing.

    One server owns it as long as it is open: its names are in memory there, and would not follow another's changes.

    Args:
        folder: made where it is missing.

    Raises:
        RegistryError: another server has it, a newer version wrote it, or it cannot be read or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = os.path.join(folder, FILE)
        connection = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise RegistryError(f"the state folder {folder} cannot be used: {error}") from error
    try:
        _prepare(connection)
    except sqlite3.Error as error:
        connection.close()
        if "locked" in str(error):  # its code has a name from Python 3.11 on
            raise RegistryError(f"the state folder {folder} is in use by another server; each needs its own") from error
        raise RegistryError(f"the names of adapters in {folder}/{FILE} cannot be read: {error}") from error
    except RegistryError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")  # takes the lock, which exclusive mode keeps
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA:
        raise RegistryError(
            f"{FILE} was written by a newer version of Loraplex (format {version}; this one knows {SCHEMA}): "
            "use that version, or another state folder"
        )
    if version == 0:
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
    connection.execute("COMMIT")
