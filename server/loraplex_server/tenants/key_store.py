"""Keys in a SQLite file, which a server reads while commands write."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from loraplex_server.tenants.errors import KeyStoreError, UnknownKeyError
from loraplex_server.tenants.grant import Grant
from loraplex_server.tenants.key import Key

FILE = "keys.sqlite"
SCHEMA = 1
# For another writer. Whoever reads may not be kept waiting: it is an event loop.
WRITER_S, READER_S = 10.0, 0.2

_TABLE = """
CREATE TABLE keys (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, "grant" TEXT NOT NULL, created INTEGER NOT NULL, revoked INTEGER
)
"""
_COLUMNS = 'id, digest, "grant", created, revoked'


class KeyStore:
    """One connection to the file. Revoked keys stay in it: a server whose last key was revoked stays closed.

    Args:
        path: of the file.
        create: make what is missing, readable for its owner alone; where root does, that is the owner of the folder.
        patience_s: how long to wait for who uses it, in seconds.

    Raises:
        KeyStoreError: as all methods do: there is no such file, a newer version wrote it, or it cannot be used.
    """

    def __init__(self, path: Path, *, create: bool = False, patience_s: float = WRITER_S) -> None:
        self._path = path
        if not create and not path.is_file():
            raise KeyStoreError(f"there is no {path}; `loraplex keys create` makes it")
        with self._errors():
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
                _make(path)
            self._connection = sqlite3.connect(path, patience_s, isolation_level=None, check_same_thread=False)
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    @property
    def version(self) -> object:
        """Differs from what it was once another connection has changed a key; cheap enough for every request."""
        with self._errors():
            return self._connection.execute("PRAGMA data_version").fetchone()[0]

    def keys(self) -> list[Key]:
        """All of them, oldest first."""
        with self._errors():
            rows = self._connection.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY rowid").fetchall()
        return [self._key(row) for row in rows]

    def add(self, key: Key) -> None:
        """Keep a new key."""
        values = (key.id, key.digest, key.grant.model_dump_json(), key.created, key.revoked)
        with self._errors():
            self._connection.execute(f"INSERT INTO keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", values)

    def revoke(self, id: str) -> Key:
        """Take a key back; once more changes nothing.

        Raises:
            UnknownKeyError: there is none of that id.
        """
        with self._errors():
            self._connection.execute(
                "UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ?", (int(time.time()), id)
            )
            rows = self._connection.execute(f"SELECT {_COLUMNS} FROM keys WHERE id = ?", (id,)).fetchall()
        if not rows:
            raise UnknownKeyError(f"there is no key '{id[:100]}'")
        return self._key(rows[0])

    def _prepare(self) -> None:
        version = self._schema()
        if version == 0:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("BEGIN IMMEDIATE")  # another process may be making it at this moment
            if self._schema() == 0:
                self._connection.execute(_TABLE)
                self._connection.execute(f"PRAGMA user_version = {SCHEMA}")
            self._connection.execute("COMMIT")
        elif version > SCHEMA:
            raise KeyStoreError(f"{self._path} was written by a newer version of Loraplex: use that version")

    def _schema(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _key(self, row: tuple[Any, ...]) -> Key:
        id, digest, grant, created, revoked = row
        try:
            return Key(id, digest, Grant.model_validate_json(grant), created, revoked)
        except ValidationError as error:
            raise KeyStoreError(f"{self._path}: key {id} cannot be read: {error.errors()[0]['msg']}") from error

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise KeyStoreError(f"the keys in {self._path} cannot be used: {error}") from error


def _make(path: Path) -> None:
    """Made by root it is its folder's owner's: a file of root's would shut the server's user out. SQLite gives what it
    puts beside it the same owner. Nothing is given away that a link leads to.
    """
    with contextlib.suppress(FileExistsError):
        made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            if os.geteuid() == 0:
                folder = path.parent.stat()
                os.fchown(made, folder.st_uid, folder.st_gid)
        finally:
            os.close(made)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
