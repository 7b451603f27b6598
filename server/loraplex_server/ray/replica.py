"""A replica: the whole server over an engine of its own, without a socket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from ray import serve
from starlette.types import Message

from loraplex_server.logs.begin import begin_log
from loraplex_server.ray.exchange import exchange
from loraplex_server.ray.question import Question
from loraplex_server.settings import ServeSettings
from loraplex_server.torch_free import hide_torch

if TYPE_CHECKING:
    from loraplex_server.ray.served import Served

HEADER = b"x-loraplex-replica"


class Replica:
    """What runs in the actors of the deployment `Engine`.

    Which adapters are in memory is the engine's own business: it loads several at once, beside the steps, and evicts by
    what it knows of requests. Ray is only told which adapters were asked for here, and forgets them in about the order
    in which the engine does; were it to load them itself, it would load one at a time and hold requests meanwhile.

    Args:
        settings: of the server. most: adapters that Ray takes to be at hand here; None: as many as fit in memory.

    Raises:
        StartError: the model or its tokenizer cannot be served; Ray tries again, and then says so.
    """

    async def __init__(self, settings: ServeSettings, most: int | None) -> None:  # type: ignore[misc]
        begin_log(settings)
        hide_torch()
        from loraplex_server.ray.served import served  # it brings transformers, which would bring torch

        self._stack = contextlib.AsyncExitStack()
        self._served: Served = await self._stack.enter_async_context(served(settings))
        self._id = serve.get_replica_context().replica_id.unique_id
        self._keep = serve.multiplexed(max_num_models_per_replica=most or self._served.fitting)(_is_here)

    async def ask(self, question: Question) -> AsyncGenerator[list[Message], None]:
        """The messages of the answer. Closing the generator, or cancelling its task, ends the work on it."""
        if self._served.may_have(question):
            await self._keep(question.adapter)
        async with contextlib.aclosing(exchange(self._served.app, question)) as said:
            async for messages in said:
                for message in messages:
                    if message["type"] == "http.response.start":
                        message["headers"] = [*message["headers"], (HEADER, self._id.encode())]
                yield messages

    async def whole(self, question: Question) -> tuple[str, list[Message]]:
        """This replica's name, and all messages of an answer that is no stream."""
        return self._id, [message async for messages in self.ask(question) for message in messages]

    async def check_health(self) -> None:
        """Raises where the engine is down. It is started again by itself; Ray replaces a replica that stays so."""
        if not self._served.healthy:
            raise RuntimeError("the engine is not running")

    async def __del__(self) -> None:
        """Called by Ray when nothing is in flight any more."""
        if hasattr(self, "_stack"):
            await self._stack.aclose()


async def _is_here(adapter: str) -> str:
    """Ray's word for "loaded"; see Replica."""
    return adapter
