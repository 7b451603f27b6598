"""A whole server without its socket: the app over an engine of its own, asked from inside."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx

from loraplex_server.api.access.caller import ANYONE
from loraplex_server.api.access.tenancy import open_tenancy
from loraplex_server.api.adapters.catalogue import build_catalog
from loraplex_server.api.app import create_app
from loraplex_server.api.process.inside import inside_client
from loraplex_server.api.process.starting import load_renderer_beside, raise_start_error
from loraplex_server.engine.client import EngineClient
from loraplex_server.engine.messages import EngineInfo
from loraplex_server.settings import ServeSettings


@contextlib.asynccontextmanager
async def own_server(settings: ServeSettings) -> AsyncIterator[tuple[httpx.AsyncClient, EngineInfo]]:
    """A client of the app, and the engine's facts, while the block runs.

    Raises:
        StartError: the model or its tokenizer cannot be served.
    """
    catalog = build_catalog(settings)
    engine = EngineClient(settings.engine_config())
    starting = asyncio.create_task(engine.start())
    try:
        renderer = await load_renderer_beside(settings, starting)
        await asyncio.wait({starting})
        raise_start_error(starting)
        with contextlib.closing(open_tenancy(settings)) as tenancy:
            app = create_app(settings, engine, renderer, catalog, tenancy=tenancy)
            async with app.router.lifespan_context(app), inside_client(app, ANYONE) as client:
                yield client, starting.result()
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await engine.close()
        await catalog.close()
