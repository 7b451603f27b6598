"""Work off to the side that is finished or undone, never left half-way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

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


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in their order; where one fails, the others are ended before its error is raised."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
