"""A whole server without its socket: the app over an engine of its own, asked from inside."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx

from loraplex_server.api.access.caller import ANYONE
from loraplex_server.api.process.inside import inside_client
from loraplex_server.api.process.own_app import own_app
from loraplex_server.engine.messages import EngineInfo
from loraplex_server.settings import ServeSettings


@contextlib.asynccontextmanager
async def own_server(settings: ServeSettings) -> AsyncIterator[tuple[httpx.AsyncClient, EngineInfo]]:
    """A client of the app, and the engine's facts, while the block runs.

    Raises:
        StartError: the model or its tokenizer cannot be served.
    """
    async with own_app(settings) as (app, info), inside_client(app, ANYONE) as client:
        yield client, info
