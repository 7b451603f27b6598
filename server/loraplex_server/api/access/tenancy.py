"""What a server knows of its tenants: their keys, limits and usage."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from loraplex_server.api.errors import ApiError
from loraplex_server.api.process.start_error import StartError
from loraplex_server.api.record import RequestRecord
from loraplex_server.settings import ServeSettings
from loraplex_server.tenants.errors import KeyStoreError, UsageError
from loraplex_server.tenants.grant import DEFAULT
from loraplex_server.tenants.key import Key
from loraplex_server.tenants.key_file import SUFFIXES
from loraplex_server.tenants.key_store import FILE, KeyStore
from loraplex_server.tenants.keyring import Keyring, open_keys
from loraplex_server.tenants.limiter import Limiter
from loraplex_server.tenants.usage import slot_at
from loraplex_server.tenants.usage_book import FILE as USAGE
from loraplex_server.tenants.usage_book import UsageBook

logger = logging.getLogger(__name__)

FLUSH_S = 5.0


@dataclass(frozen=True)
class Tenancy:
    """Args: keyring: of the keys that are kept. usage: of all. store: the keys' file, where it may be written over the
    API. limiter: of this process."""

    keyring: Keyring
    usage: UsageBook
    store: Path | None = None
    limiter: Limiter = field(default_factory=Limiter)

    def add_key(self, key: Key) -> None:
        """Keep a new key. Like all who write keys it has a connection of its own, so that the keyring sees the change.

        Raises:
            ApiError: 409; keys cannot be written over the API.
            KeyStoreError: they cannot be written at this moment.
        """
        with self._writing() as store:
            store.add(key)

    def revoke_key(self, id: str) -> Key:
        """Take one back. Raises UnknownKeyError, and as add_key does."""
        with self._writing() as store:
            return store.revoke(id)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[KeyStore]:
        if self.store is None:
            message = (
                "Keys cannot change over the API of this server: start it with --state-dir DIR, or with a --keys FILE "
                "that is no YAML"
            )
            raise ApiError(409, message, code="keys_not_kept")
        with contextlib.closing(KeyStore(self.store)) as store:
            yield store

    def count(self, record: RequestRecord) -> None:
        """Add a request that has ended to its tenant's usage, if the engine worked on it."""
        if record.used is not None:
            slot = slot_at(time.time(), record.caller.tenant or DEFAULT, record.caller.key_id, record.adapters)
            self.usage.count(slot, record.used)

    async def keep_writing(self) -> None:
        """Write usage every few seconds, until cancelled. What fails is logged, and tried again."""
        trouble = ""
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await asyncio.to_thread(self.usage.flush)
                trouble = ""
            except UsageError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    logger.error("%s; it is counted on, and tried again", error)

    def close(self) -> None:
        """Write what was counted, and let go of the files."""
        try:
            self.usage.flush()
        except UsageError as error:
            logger.error("the usage of the last seconds is lost: %s", error)
        self.usage.close()
        self.keyring.close()


def open_tenancy(settings: ServeSettings) -> Tenancy:
    """As the settings want it.

    Raises:
        StartError: keys or usage cannot be read; a file of keys that is named must be there, and so must that of a
            state folder where keys were used, or a slip of the pen would leave the server open to all.
    """
    path = settings.keys
    create = path is None
    if path is None and settings.state_dir is not None:
        path = settings.state_dir / FILE
        _require_kept(path, settings)
    try:
        keyring = Keyring(None if path is None else open_keys(path, create=create))
    except KeyStoreError as error:
        raise StartError(str(error)) from error
    store = None if path is None or path.suffix in SUFFIXES else path
    try:
        return Tenancy(keyring, UsageBook(settings.state_dir), store)
    except UsageError as error:
        keyring.close()
        raise StartError(f"--state-dir: {error}") from error


def _require_kept(keys: Path, settings: ServeSettings) -> None:
    folder = keys.parent
    if settings.api_key or keys.exists() or not (folder / USAGE).exists():
        return
    try:
        with contextlib.closing(UsageBook(folder)) as book:
            lost = book.knows_keys()
    except UsageError as error:
        raise StartError(f"--state-dir: {error}") from error
    if lost:
        raise StartError(
            f"--state-dir: keys were used here, but {keys} is gone, and without keys this server would be open to all: "
            f"restore it, name it by --keys, or make a new key by `loraplex keys create --state-dir {folder}`"
        )
