"""Remote adapters as folders on this machine: fetched once for many waiters, looked at again when it is time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from loraplex_adapters.errors import (
    DiskFullError,
    SourceDamagedError,
    SourceNotAllowedError,
    SourceUnavailableError,
)
from loraplex_adapters.sources.address import Address, Kind
from loraplex_adapters.sources.cache import DiskCache, DiskUsage, IndexRecord, Staging
from loraplex_adapters.sources.download import download
from loraplex_adapters.sources.held import HeldFolder
from loraplex_adapters.sources.listing import Listing, Remote
from loraplex_adapters.sources.threads import on_thread
from loraplex_adapters.sources.wanted import SizeLimits, require_fetchable

logger = logging.getLogger(__name__)

RETRY_PAUSE_S = 0.5
LOCK_POLL_S = 0.05
LOOKS = 32  # at once
ROUNDS = 3  # of fetching what is evicted again before it could be held


class Fetcher:
    """Used on one event loop. Files are hashed and written on threads.

    Args:
        remotes: by the kind of place.
        cache: that keeps what is fetched.
        limits: on the sizes of files.
        revalidate_s: how long a branch or a prefix is taken to be unchanged. A commit is never looked at again.
        concurrency: fetches at once.
    """

    def __init__(
        self,
        remotes: Mapping[Kind, Remote],
        cache: DiskCache,
        limits: SizeLimits,
        *,
        revalidate_s: float = 60,
        concurrency: int = 8,
    ) -> None:
        self._remotes = dict(remotes)
        self._cache = cache
        self._limits = limits
        self._revalidate_s = revalidate_s
        self._slots = asyncio.Semaphore(concurrency)
        self._looks = asyncio.Semaphore(LOOKS)  # apart, or what is here would wait for the fetches of others
        self._running: dict[str, asyncio.Task[IndexRecord]] = {}
        self._spared: dict[str, float] = {}  # key -> until when (monotonic) a place that is down is not asked again

    def cached(self, address: Address) -> str | None:
        """The folder of what is on the disk, however old; not held, and not read."""
        record = self._cache.find(address.text)
        return None if record is None else self._cache.peek(record.entry)

    def has(self, address: Address) -> bool:
        """Whether it seems to be on the disk; nothing is read but its record."""
        record = self._cache.find(address.text)
        return record is not None and self._cache.has(record.entry)

    async def usage(self) -> DiskUsage:
        """How full the cache is."""
        return await on_thread(self._cache.usage)

    async def open(self, address: Address) -> HeldFolder:
        """Fetch what is not here or is no longer new; hold it.

        Who is cancelled while waiting leaves the others' fetch alone.

        Raises:
            SourceError, DiskFullError: it cannot be had, and there is no older copy.
        """
        waited = 0.0
        for _ in range(ROUNDS):
            record = self._cache.find(address.text)
            if record is None or not self._is_new(address, record):
                began = time.monotonic()
                record = await self._shared(address)
                waited += time.monotonic() - began
            held = await self._hold_checked(record)
            if held is not None:
                held.waited_s = waited
                return held
            self._spared.pop(address.text, None)
        raise DiskFullError("the disk cache of this server is too small for what is asked of it at once")

    async def close(self) -> None:
        """End all fetches."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for remote in self._remotes.values():
            await remote.close()

    def _is_new(self, address: Address, record: IndexRecord) -> bool:
        if not self._cache.has(record.entry):
            return False
        if address.immutable or time.monotonic() < self._spared.get(address.text, 0):
            return True
        return 0 <= time.time() - record.checked < self._revalidate_s

    async def _shared(self, address: Address) -> IndexRecord:
        key = address.text
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._refresh(address), name=f"fetch {key}")
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    def _ended(self, key: str, task: asyncio.Task[IndexRecord]) -> None:
        del self._running[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            # Said here, for the waiters may all have gone.
            logger.warning("adapter source cannot be had", extra={"fields": {"source": key, "error": str(error)}})

    async def _refresh(self, address: Address) -> IndexRecord:
        record = self._cache.find(address.text)
        old = None if record is None else await self._hold_checked(record)
        try:
            async with self._alone(address):
                found = self._cache.find(address.text)
                if found is not None and found != record:
                    record, before = found, old  # another process was here
                    old = await self._hold_checked(found)
                    if before is not None:
                        before.release()
                if record is not None and old is not None and self._is_new(address, record):
                    return record
                return await self._update(address, record if old is not None else None)
        except (SourceUnavailableError, SourceDamagedError, DiskFullError) as error:
            if record is None or old is None:
                raise
            self._spared[address.text] = time.monotonic() + self._revalidate_s
            logger.warning(
                "adapter source cannot be looked at; its older copy is served on",
                extra={"fields": {"source": address.text, "revision": record.revision, "error": str(error)}},
            )
            return record
        finally:
            if old is not None:
                old.release()

    async def _update(self, address: Address, record: IndexRecord | None) -> IndexRecord:
        """Look at the place, and fetch what is new there; what fails for a reason that may pass is tried once more."""
        remote = self._remotes.get(address.kind)
        if remote is None:
            raise SourceNotAllowedError(f"this server fetches nothing from {address.kind}://")
        try:
            return await self._look(remote, address, record)
        except (SourceUnavailableError, SourceDamagedError) as error:
            logger.info(
                "adapter source is tried again", extra={"fields": {"source": address.text, "error": str(error)}}
            )
        await asyncio.sleep(RETRY_PAUSE_S)
        return await self._look(remote, address, record)

    async def _look(self, remote: Remote, address: Address, record: IndexRecord | None) -> IndexRecord:
        async with self._looks:
            listing = await remote.list(address)
        if record is not None and listing.revision and listing.revision == record.revision:
            await on_thread(lambda: self._cache.touch(record))
            return record
        return await self._fetch(remote, address, listing)

    async def _fetch(self, remote: Remote, address: Address, listing: Listing) -> IndexRecord:
        require_fetchable(address, listing, self._limits)
        began = time.monotonic()
        async with self._slots:
            with await on_thread(lambda: self._cache.stage(listing.nbytes), Staging.discard) as staging:
                manifest = await download(remote, address, listing, staging.path)
                publish = partial(self._cache.publish, staging, manifest, address.text, listing.revision)
                held = await on_thread(publish, HeldFolder.release)
        held.release()
        took = round(time.monotonic() - began, 3)
        fields = {"source": address.text, "revision": listing.revision, "bytes": manifest.nbytes, "seconds": took}
        logger.info("adapter fetched", extra={"fields": fields})
        return IndexRecord(address.text, listing.revision, manifest.key, time.time())

    def _hold(self, record: IndexRecord) -> HeldFolder | None:
        held = self._cache.hold(record.entry)
        if held is not None:
            held.revision = record.revision
        return held

    async def _hold_checked(self, record: IndexRecord) -> HeldFolder | None:
        """On a thread where the content must be read first."""
        if self._cache.is_checked(record.entry):
            return self._hold(record)
        return await on_thread(lambda: self._hold(record), _let_go)

    @asynccontextmanager
    async def _alone(self, address: Address) -> AsyncIterator[None]:
        """Among the processes that share the cache."""
        lock = self._cache.fetching(address.text)
        try:
            while not lock.acquire(wait=False):  # noqa: ASYNC110
                await asyncio.sleep(LOCK_POLL_S)  # a lock between processes wakes nobody's event loop
        except OSError as error:
            raise DiskFullError(f"the disk cache cannot be used now: {error.strerror}") from error
        try:
            yield
        finally:
            lock.delete()
            lock.release()


def _let_go(held: HeldFolder | None) -> None:
    if held is not None:
        held.release()
