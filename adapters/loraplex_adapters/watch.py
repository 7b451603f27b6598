"""Which adapters changed on the disk, told soon after they did."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from watchfiles import awatch

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import AdapterError

logger = logging.getLogger(__name__)

POLL_S = 2.0
# Notifications get lost: on network file systems, where too much happens at once, in folders that came later.
RESCAN_S = 30.0
SETTLE_S = 0.4


async def changes(
    catalog: Catalog, *, polling: bool = False, poll_s: float = POLL_S, settle_s: float = SETTLE_S
) -> AsyncGenerator[frozenset[str], None]:
    """The names of adapters in local folders whose content changed, or that are new, as it happens.

    Requests do not depend on it: each of them looks at the files itself. It is for those adapters that should be ready
    before anybody asks. A change is told once its files have been left alone for a moment, so that a trainer that is
    still writing is waited for. What was there at the start is not told, nor what is deleted.

    Args:
        catalog: whose folders are watched.
        polling: look every `poll_s` seconds instead of waiting for the system's notifications.
        poll_s: seconds.
        settle_s: how long an adapter's files must have been as they are.
    """
    known = await asyncio.to_thread(_fingerprints, catalog)
    async with aclosing(_occasions(catalog, poll_s if polling else None)) as occasions:
        async for _ in occasions:
            found = await asyncio.to_thread(_fingerprints, catalog)
            while found != known and (later := await _later(catalog, settle_s)) != found:
                found = later
            changed = frozenset(name for name, sign in found.items() if known.get(name) != sign)
            known = found
            if changed:
                yield changed


async def _later(catalog: Catalog, settle_s: float) -> Mapping[str, str]:
    await asyncio.sleep(settle_s)
    return await asyncio.to_thread(_fingerprints, catalog)


async def _occasions(catalog: Catalog, poll_s: float | None) -> AsyncGenerator[None, None]:
    """Whenever it is worth a look."""
    while poll_s is not None:
        yield
        await asyncio.sleep(poll_s)
    while True:
        yield
        folders = catalog.folders()
        if not folders:
            await asyncio.sleep(RESCAN_S)
            continue
        stop = asyncio.Event()
        # A timeout makes it look again, and take in folders that were added over the API.
        watching = awatch(
            *folders, stop_event=stop, debounce=200, step=50, rust_timeout=int(RESCAN_S * 1000), yield_on_timeout=True
        )
        try:
            async for _ in watching:
                yield
                if catalog.folders() != folders:
                    break
        except OSError as error:  # a folder was deleted, or there are more than the system watches
            logger.warning("adapter folders cannot be watched and are looked at now and then: %s", error.strerror)
            await asyncio.sleep(RESCAN_S)
        finally:
            stop.set()
            await watching.aclose()


def _fingerprints(catalog: Catalog) -> Mapping[str, str]:
    """Of all adapters in local folders, by name."""
    found = {}
    for name in catalog.local_names():
        try:
            found[name] = catalog.resolve(name).fingerprint
        except AdapterError:  # noqa: PERF203  # deleted since it was listed, or unreadable now: looked at again
            logger.debug("adapter cannot be looked at", exc_info=True)
    return found
