"""One change of a name at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """A lock for each name, while somebody uses it. For one event loop."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}  # and how many have or want it

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for those that came before, in their order."""
        lock, count = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, count + 1)
        try:
            async with lock:
                yield
        finally:
            count = self._locks[name][1] - 1
            if count:
                self._locks[name] = (lock, count)
            else:
                del self._locks[name]
