"""Tasks that run beside the work for which they were begun."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel it, and wait until it has ended. What it failed of by itself is raised."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs as long as the block does."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await cancel(task)
