"""Blocking work off the event loop that is finished or undone, never left half-way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def _keep(_: object) -> None:
    pass


async def on_thread(work: Callable[[], T], undo: Callable[[T], object] = _keep) -> T:
    """Run something on a thread. A thread cannot be cancelled: who is, waits for its end first.

    Args:
        work: to be done.
        undo: given its result where nobody is there to take it.
    """
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if task.exception() is None:
            undo(task.result())
        raise
