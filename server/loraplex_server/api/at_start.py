"""Headers that are known when an answer begins, not before."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send


def at_start(send: Send, change: Callable[[MutableHeaders], None]) -> Send:
    """`send`, but what begins an answer goes out with other headers.

    Args:
        change: is given those that it has.
    """

    async def changed(message: Message) -> None:
        if message["type"] == "http.response.start":
            change(MutableHeaders(scope=message))
        await send(message)

    return changed
