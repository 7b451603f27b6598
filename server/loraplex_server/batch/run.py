"""The lines of a batch, as many at once as there is room for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from loraplex_server.batch.answer import Answer, refused
from loraplex_server.batch.line import Line, LineError
from loraplex_server.batch.room import Room, Seats


async def run_lines(
    lines: AsyncGenerator[Line | LineError, None],
    room: Room,
    ask: Callable[[Line], Awaitable[Answer]],
    put: Callable[[Answer], Awaitable[None]],
) -> None:
    """Ask for all lines, in their order: which of them go together is the engine's to choose.

    Args:
        lines: requests, and what is wrong with the lines that are none; closed in the end.
        room: that each takes while it is asked for.
        ask: gives a line's answer. put: keeps it; both are called for several lines at once.

    Raises:
        Exception: what `ask` or `put` raised first; the other lines in flight are cancelled.
    """
    tasks: set[asyncio.Task[None]] = set()
    try:
        async with aclosing(lines):
            async for line in lines:
                if isinstance(line, LineError):
                    await put(refused(line))
                    continue
                seats = await room.take(line.answers)
                task = asyncio.create_task(_one(line, seats, ask, put))
                # A task that is cancelled before its first step gives nothing back by itself.
                task.add_done_callback(lambda _, seats=seats: seats.give_back())  # type: ignore[misc]
                tasks.add(task)
                _reap(tasks)
        while tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            _reap(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _one(
    line: Line, seats: Seats, ask: Callable[[Line], Awaitable[Answer]], put: Callable[[Answer], Awaitable[None]]
) -> None:
    answer = await ask(line)
    seats.give_back()
    await put(answer)


def _reap(tasks: set[asyncio.Task[None]]) -> None:
    """Forget those that are done; raises what one of them raised."""
    for task in [task for task in tasks if task.done()]:
        tasks.remove(task)
        task.result()
