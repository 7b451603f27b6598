"""The app as batches ask it: in their creators' names, behind everything that comes from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from loraplex_server.api.access.caller import acting_as
from loraplex_server.api.access.callers import Callers
from loraplex_server.api.errors import ApiError
from loraplex_server.api.forms.responses import error_response
from loraplex_server.api.process.drain import Drain
from loraplex_server.batch.answer import Answer
from loraplex_server.batch.asker import Asker
from loraplex_server.batch.line import Line
from loraplex_server.batch.state.batches import StoredBatch
from loraplex_server.engine.interface import Engine

# vLLM's numbers are lower for what is earlier; no key's priority comes near this.
BEHIND = 1_000_000
# Of the seats, the share that stays free of batches: for who comes next.
SPARE = 8
# An engine that loads its model or starts again is waited for, however long that takes.
LOOK_AGAIN_S = 0.2


class Background:
    """Args: app: with all its middleware. callers: whose rights batches have. engine, drain: say how busy it is."""

    def __init__(self, app: ASGIApp, callers: Callers, engine: Engine, drain: Drain) -> None:
        self._app = app
        self._callers = callers
        self._engine = engine
        self._drain = drain
        self._in_flight = 0

    def asks(self, batch: StoredBatch) -> Callable[[Line], Awaitable[Answer]]:
        """What asks for the lines of a batch; a key that is gone takes its rights along."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while not self._engine.healthy:  # noqa: ASYNC110  # it says by no event when it is
                await asyncio.sleep(LOOK_AGAIN_S)
            caller = self._callers.with_key(batch.key_id)
            if caller is None:
                gone = ApiError(401, "The key that made this batch is no longer valid", code="invalid_api_key")
                await error_response(gone, scope["path"])(scope, receive, send)
                return
            behind = replace(caller, priority=caller.priority + BEHIND)
            self._in_flight += 1
            try:
                await acting_as(self._app, behind, batch.id)(scope, receive, send)
            finally:
                self._in_flight -= 1

        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://inside", timeout=None)
        return Asker(client).ask

    def seats(self, most: int | None) -> int:
        """Seats of the engine that batches may take now: those that nobody else takes, and not all of them."""
        if self._engine.info is None:
            return 1
        total = self._engine.info.max_num_seqs
        others = self._drain.in_flight - self._in_flight
        free = max(total - max(total // SPARE, 1) - others, 1)
        return free if most is None else min(free, most)
