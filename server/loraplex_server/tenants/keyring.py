"""The keys that open a running server, followed while they change."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from loraplex_server.tenants.errors import KeyStoreError
from loraplex_server.tenants.key import Key
from loraplex_server.tenants.key_file import SUFFIXES, KeyFile
from loraplex_server.tenants.key_store import READER_S, KeyStore
from loraplex_server.tenants.secret import digest_of

logger = logging.getLogger(__name__)

RETRY_S = 1.0


class KeySource(Protocol):
    """Where keys are kept."""

    @property
    def version(self) -> object:
        """Differs once they have changed."""

    def keys(self) -> list[Key]:
        """All of them, revoked ones too."""

    def close(self) -> None:
        """No more of it."""


def open_keys(path: Path, *, create: bool = False) -> KeySource:
    """A YAML file by its suffix, else a SQLite file. Raises KeyStoreError."""
    return KeyFile(path) if path.suffix in SUFFIXES else KeyStore(path, create=create, patience_s=READER_S)


class Keyring:
    """Looks at each question whether anything has changed: a key that is revoked opens nothing from then on.

    Keys that cannot be read any more, after a slip in a file say, leave those that were read before, and the log says
    so: else one slip would shut everybody out. They are tried again each second: what stood in the way may pass.

    Args:
        source: of the keys; None for none, ever.
        clock: Unix time.

    Raises:
        KeyStoreError: they cannot be read at the start.
    """

    def __init__(self, source: KeySource | None, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._by_digest: dict[bytes, Key] = {}
        self._by_id: dict[str, Key] = {}
        self._seen: object = None  # the version that was read
        self._failed: object = None  # the one that could not be, not before `again` (monotonic)
        self._again = 0.0
        self._trouble = ""
        if source is not None:
            self._seen = source.version
            self._read(source)

    def close(self) -> None:
        """Let go of the source."""
        if self._source is not None:
            self._source.close()

    def by_secret(self, secret: str) -> Key | None:
        """The key that a client sent; None where it is none, or opens nothing any more."""
        self._follow()
        return self._open(self._by_digest.get(digest_of(secret)))

    def by_id(self, id: str) -> Key | None:
        """The same, of a key whose owner was seen before."""
        self._follow()
        return self._open(self._by_id.get(id))

    def all(self) -> list[Key]:
        """All that are known, revoked ones too."""
        self._follow()
        return list(self._by_id.values())

    def any(self) -> bool:
        """Whether a key was ever made, were it revoked since: taking the last one back must not open the door."""
        self._follow()
        return bool(self._by_id)

    def has_admin(self) -> bool:
        """Whether any of them administers."""
        self._follow()
        return any(key.grant.admin and self._open(key) for key in self._by_id.values())

    def _open(self, key: Key | None) -> Key | None:
        return key if key is not None and key.state(self._clock()) == "active" else None

    def _follow(self) -> None:
        source = self._source
        if source is None:
            return
        try:
            version = source.version
            if version == self._seen:
                self._trouble = ""
                return
            if version == self._failed and time.monotonic() < self._again:
                return
            self._failed, self._again = version, time.monotonic() + RETRY_S
            self._read(source)
            self._seen = version  # as it was before they were read: what changed meanwhile is read again
            self._trouble = ""
        except KeyStoreError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                logger.error("keys stay as they were: %s", error)

    def _read(self, source: KeySource) -> None:
        keys = source.keys()
        self._by_digest = {key.digest: key for key in keys}
        self._by_id = {key.id: key for key in keys}
