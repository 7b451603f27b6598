"""Files: their rows in the database, their bytes in a folder."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec

from loraplex_server.batch.state.database import Database, Statement
from loraplex_server.batch.state.page import Cursor, read_page
from loraplex_server.batch.state.space import LEAST, Space

logger = logging.getLogger(__name__)

COLUMNS = "id, tenant, filename, purpose, bytes, created_at, expires_at"
UPLOADING = ".part"
DAY_S = 24 * 3600
LIFETIME_S = 30 * DAY_S  # OpenAI's default


class StoredFile(msgspec.Struct, frozen=True):
    """One file."""

    id: str
    tenant: str
    filename: str
    purpose: str
    bytes: int
    created_at: int  # Unix time
    expires_at: int | None

    def view(self) -> dict[str, Any]:
        """As OpenAI's API shows it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


def new_file_id() -> str:
    """An id that no other file has."""
    return f"file-{uuid.uuid4().hex}"


class Files:
    """All files of a server.

    Args:
        database: with their rows. folder: with their bytes. limit: bytes of all of them.

    Raises:
        StateError: the database cannot be read. OSError: the folder cannot be used.
    """

    def __init__(self, database: Database, folder: Path, limit: int) -> None:
        self._database = database
        self._folder = folder
        self.space = Space(limit)
        folder.mkdir(parents=True, exist_ok=True)
        for (size,) in database.read("SELECT bytes FROM files"):
            self.space.hold(max(size, LEAST))

    def path(self, id: str) -> Path:
        """Where a file's bytes are."""
        return self._folder / id

    def upload_path(self, id: str) -> Path:
        """Where they are until all have come."""
        return self._folder / (id + UPLOADING)

    def sweep(self, written: set[str]) -> None:
        """Remove what nobody knows: uploads that were broken off, and outputs of batches that are gone.

        For the start: what is being uploaded is known to nobody either.

        Args:
            written: ids of files that batches are still writing.
        """
        known = {id for (id,) in self._database.read("SELECT id FROM files")} | written
        for path in self._folder.iterdir():
            if path.name in known:
                continue
            try:
                path.unlink()
            except OSError as error:  # nothing that this server made
                logger.warning("%s is left where it is: %s", path, error.strerror)

    def adding(self, file: StoredFile) -> Statement:
        """The statement that makes a file known; its bytes are there, and counted."""
        values = msgspec.structs.astuple(file)
        return f"INSERT INTO files ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", values

    def add_upload(self, file: StoredFile) -> None:
        """Keep what was uploaded to upload_path.

        Raises:
            StateError, OSError: it cannot be kept; nothing of it is.
        """
        os.replace(self.upload_path(file.id), self.path(file.id))
        sync_folder(self._folder)
        try:
            self._database.write(self.adding(file))
        except BaseException:
            self.path(file.id).unlink()
            raise
        self.space.hold(max(LEAST - file.bytes, 0))

    def find(self, tenant: str, id: str) -> StoredFile | None:
        """A tenant's file."""
        rows = self._database.read(f"SELECT {COLUMNS} FROM files WHERE id = ? AND tenant = ?", id, tenant)
        return StoredFile(*rows[0]) if rows else None

    def page(self, tenant: str, purpose: str | None, cursor: Cursor) -> tuple[list[StoredFile], bool]:
        """Some of a tenant's files, and whether there are more. Raises UnknownCursorError."""
        where = [("tenant", tenant), *([("purpose", purpose)] if purpose is not None else [])]
        rows, more = read_page(self._database, "files", COLUMNS, where, cursor)
        return [StoredFile(*row) for row in rows], more

    def expired(self) -> list[StoredFile]:
        """Files whose time is over."""
        query = f"SELECT {COLUMNS} FROM files WHERE expires_at <= ?"
        return [StoredFile(*row) for row in self._database.read(query, int(time.time()))]

    def remove(self, file: StoredFile) -> None:
        """Forget a file; whoever else forgot it meanwhile gave its room back. Raises StateError."""
        if not self._database.write(("DELETE FROM files WHERE id = ?", (file.id,))):
            return
        with contextlib.suppress(FileNotFoundError):
            self.path(file.id).unlink()
        self.space.give(max(file.bytes, LEAST))


def sync_folder(folder: Path) -> None:
    """Have the names of its files on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
