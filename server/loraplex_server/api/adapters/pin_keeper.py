"""What is pinned stays in the engine's memory: after a start, a restart of the engine, and a change of its files."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import AdapterError
from loraplex_adapters.source import AdapterSource
from loraplex_server.api.adapters.adapter_outcomes import AdapterOutcomes
from loraplex_server.engine.interface import Engine, EngineDeadError, EngineError

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0  # between looks at the pinned adapters' files
RETRY_S = 30.0  # after a failure, while the files stay as they are
AT_ONCE = 4


class PinKeeper:
    """Looks again and again: nothing that changes a pin has to remember to say so.

    Args:
        catalog: says what is pinned.
        engine: that pins.
        outcomes: told what became of it.
    """

    def __init__(self, catalog: Catalog, engine: Engine, outcomes: AdapterOutcomes) -> None:
        self._catalog = catalog
        self._engine = engine
        self._outcomes = outcomes
        self._life: int | None = None  # the engine process that holds the pins
        self._pinned: dict[str, AdapterSource] = {}
        self._failed: dict[
            str, tuple[AdapterSource | None, float]
        ] = {}  # as it was, if it could be had; and when to try again
        self._renewals: Counter[str] = Counter()  # of names that are pinned at this moment
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Until cancelled. What fails is logged, shown with the adapter, and tried again; it ends nothing."""
        while True:
            try:
                await self.look()
            except Exception:
                logger.exception("the pinned adapters could not be looked at")
            await asyncio.sleep(INTERVAL_S)

    async def look(self) -> None:
        """Once: load what should be there, let go of what should not."""
        info = self._engine.info
        if info is None or not self._engine.healthy:
            return
        if info.pid != self._life:
            self._life = info.pid
            self._pinned.clear()
            self._failed.clear()
        wanted = await asyncio.to_thread(self._catalog.pinned)
        for name in self._pinned.keys() - set(wanted):
            del self._pinned[name]
            await self._engine.unpin(name)
        for name in self._failed.keys() - set(wanted):
            del self._failed[name]
        for name in self._renewals.keys() - set(wanted):
            del self._renewals[name]
        await asyncio.gather(*(self._keep(name) for name in wanted))

    async def renew(self, name: str) -> None:
        """Take the engine's pin of a name away, whoever asked for it and of whatever files.

        The next look pins it again, where the catalogue says so.
        """
        self._renewals[name] += 1
        self._pinned.pop(name, None)
        self._failed.pop(name, None)
        await self._engine.unpin(name)

    async def _keep(self, name: str) -> None:
        """A remote adapter is looked at again when the catalogue finds that it is time."""
        failed, retry_at = self._failed.get(name, (None, 0.0))
        waits = time.monotonic() < retry_at
        if waits and failed is None:
            return
        renewals = self._renewals[name]
        source: AdapterSource | None = None
        try:
            async with self._turns:
                with await self._catalog.open(name) as held:
                    source = held.source
                    if source == self._pinned.get(name) or (waits and source == failed):
                        return
                    prepared = await self._engine.prepare(source, pin=True)
        except EngineDeadError:
            return  # the next engine is told again
        except (AdapterError, EngineError, OSError) as error:
            self._failed[name] = source, time.monotonic() + RETRY_S
            if self._outcomes.error(name) != str(error):
                logger.warning("pinned adapter '%s' cannot be kept in memory: %s", name, error)
            self._outcomes.failed(name, str(error))
            return
        self._failed.pop(name, None)
        if renewals == self._renewals[name]:
            self._pinned[name] = source
        self._outcomes.succeeded(source, prepared.generation)
