"""A client that hangs up ends its own work."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from loraplex_server.engine.interface import EngineDeadError

_T = TypeVar("_T")


class ClientGoneError(Exception):
    """Nobody is left to answer."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, _T]) -> _T:
    """Await the work, and cancel it when the client hangs up first.

    Raises:
        ClientGoneError: the client was first.
        EngineDeadError: the work was cancelled from below, so nobody works on it any more.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_departure(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        if task.cancelled():
            raise EngineDeadError("the engine ended while it held the request")
        return await task
    finally:
        task.cancel()
        gone.cancel()
        # Both must have ended before the caller goes on: they share its generator and its connection.
        await asyncio.gather(task, gone, return_exceptions=True)


async def _departure(receive: Receive) -> None:
    """Returns when the client is gone; the body must have been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass
