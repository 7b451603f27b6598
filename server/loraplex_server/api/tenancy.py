"""What a server knows of its tenants: their keys, limits and usage."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from loraplex_server.api.record import RequestRecord
from loraplex_server.api.start_error import StartError
from loraplex_server.settings import ServeSettings
from loraplex_server.tenants.errors import KeyStoreError, UsageError
from loraplex_server.tenants.grant import DEFAULT
from loraplex_server.tenants.key_store import FILE
from loraplex_server.tenants.keyring import Keyring, open_keys
from loraplex_server.tenants.limiter import Limiter
from loraplex_server.tenants.usage import slot_at
from loraplex_server.tenants.usage_book import UsageBook

logger = logging.getLogger(__name__)

FLUSH_S = 5.0


@dataclass(frozen=True)
class Tenancy:
    """Args: keyring: of the keys that are kept. usage: of all. limiter: of this process."""

    keyring: Keyring
    usage: UsageBook
    limiter: Limiter = field(default_factory=Limiter)

    def count(self, record: RequestRecord) -> None:
        """Add a request that has ended to its tenant's usage, if the engine worked on it."""
        if record.used is not None:
            slot = slot_at(time.time(), record.caller.tenant or DEFAULT, record.adapters)
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
        StartError: keys or usage cannot be read; a file of keys that is named must be there, or a slip of the pen would
            leave the server open to all.
    """
    path = settings.keys
    create = path is None
    if path is None and settings.state_dir is not None:
        path = settings.state_dir / FILE
    try:
        keyring = Keyring(None if path is None else open_keys(path, create=create))
    except KeyStoreError as error:
        raise StartError(str(error)) from error
    try:
        return Tenancy(keyring, UsageBook(settings.state_dir))
    except UsageError as error:
        keyring.close()
        raise StartError(f"--state-dir: {error}") from error
