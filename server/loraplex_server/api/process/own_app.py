"""The app over an engine of its own, without a socket: for whoever asks it from inside this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from loraplex_server.api.access.tenancy import open_tenancy
from loraplex_server.api.adapters.catalogue import build_catalog
from loraplex_server.api.app import create_app
from loraplex_server.api.process.starting import load_renderer_beside, raise_start_error
from loraplex_server.engine.client import EngineClient
from loraplex_server.engine.messages import EngineInfo
from loraplex_server.settings import ServeSettings
from loraplex_server.tracing.open import open_tracing


@contextlib.asynccontextmanager
async def own_app(settings: ServeSettings) -> AsyncIterator[tuple[FastAPI, EngineInfo]]:
    """The app, and its engine's facts, while the block runs; it is entered when the engine is ready.

    Raises:
        StartError: the model or its tokenizer cannot be served, or traces cannot be sent.
    """
    catalog = build_catalog(settings)
    engine = EngineClient(settings.engine_config())
    starting = asyncio.create_task(engine.start())
    try:
        renderer = await load_renderer_beside(settings, starting)
        await asyncio.wait({starting})
        raise_start_error(starting)
        with (
            open_tracing(settings.otlp_traces_endpoint) as tracing,
            contextlib.closing(open_tenancy(settings)) as tenancy,
        ):
            app = create_app(settings, engine, renderer, catalog, tenancy=tenancy, tracing=tracing)
            async with app.router.lifespan_context(app):
                yield app, starting.result()
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await engine.close()
        await catalog.close()
