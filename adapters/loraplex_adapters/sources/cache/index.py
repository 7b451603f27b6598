"""From a source and its revision to the entry that holds the content."""

from __future__ import annotations

import hashlib
import os

import msgspec

from loraplex_adapters.sources.cache.files import write_atomically


class IndexRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Args: key: of the source. revision: when it was looked at last, at Unix time `checked`. entry: its content."""

    key: str
    revision: str
    entry: str
    checked: float


class Index:
    """One small file a source, replaced in one step: it needs no lock for reading.

    Args:
        folder: that holds them.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find(self, key: str) -> IndexRecord | None:
        """The record of a source; None where there is none, or a damaged one."""
        record = self.read(self._path(key))
        return record if record is not None and record.key == key else None

    def put(self, record: IndexRecord) -> None:
        """Write a record, under the lock of its source's fetching."""
        write_atomically(self._path(record.key), msgspec.json.encode(record))

    @staticmethod
    def read(path: str) -> IndexRecord | None:
        """One of the files; None where it is missing or damaged."""
        try:
            with open(path, "rb") as file:
                return msgspec.json.decode(file.read(), type=IndexRecord)
        except (OSError, msgspec.MsgspecError):
            return None

    @staticmethod
    def name(key: str) -> str:
        """A file name for a source."""
        return hashlib.sha256(key.encode()).hexdigest()

    def _path(self, key: str) -> str:
        return os.path.join(self._folder, self.name(key) + ".json")
