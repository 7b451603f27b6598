"""The HTTP application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from fastapi import FastAPI

from loraplex_adapters.catalog import Catalog
from loraplex_server import __version__
from loraplex_server.api.access.callers import Callers
from loraplex_server.api.access.guard import GuardMiddleware
from loraplex_server.api.access.tenancy import Tenancy, open_tenancy
from loraplex_server.api.adapters.adapter_admin import AdapterAdmin
from loraplex_server.api.adapters.adapter_outcomes import AdapterOutcomes
from loraplex_server.api.adapters.holds import HoldMiddleware
from loraplex_server.api.adapters.model_names import ModelNames
from loraplex_server.api.adapters.pin_keeper import PinKeeper
from loraplex_server.api.document.families import include_families
from loraplex_server.api.document.openapi import install_openapi
from loraplex_server.api.forms.response_store import ResponseStore
from loraplex_server.api.handlers import install_handlers
from loraplex_server.api.middleware import RecordMiddleware
from loraplex_server.api.process.batch_work import make_batch_work
from loraplex_server.api.process.disk_watch import watch_disk
from loraplex_server.api.process.drain import Drain
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.rendering.renderers import Renderers
from loraplex_server.api.root_path import RootPath
from loraplex_server.api.services import Services
from loraplex_server.batch.state.state import State
from loraplex_server.engine.interface import Engine
from loraplex_server.metrics import Metrics
from loraplex_server.settings import ServeSettings
from loraplex_server.tracing.interface import Tracing


def create_app(
    settings: ServeSettings,
    engine: Engine,
    renderer: Renderer,
    catalog: Catalog,
    metrics: Metrics | None = None,
    drain: Drain | None = None,
    tenancy: Tenancy | None = None,
    state: State | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """The app over an engine that someone else starts and ends.

    Args:
        settings: of the server. engine: that answers. renderer: tokenizer and chat template. catalog: of the adapters.
        metrics: default: new ones. drain: begun by whoever ends the server; default: a new one.
        tenancy: keys, limits and usage, that someone else closes; default: as the settings want it.
        state: that keeps files and batches; default: none, and there are none.
        tracing: that someone else closes; default: none.
    """
    tenancy = tenancy or open_tenancy(settings)
    metrics = metrics or Metrics(settings.base_names[0], settings.metrics_max_adapters, settings.metrics_max_tenants)
    drain = drain or Drain()
    metrics.server.watch(engine, drain)
    names = ModelNames(settings.base_names, catalog)
    outcomes = AdapterOutcomes()
    renderers = Renderers(renderer)
    keeper = PinKeeper(catalog, engine, outcomes)
    admin = AdapterAdmin(catalog, engine, renderers, outcomes, keeper)
    callers = Callers(settings, tenancy.keyring)
    stored = ResponseStore(settings.response_store_size)
    services = Services(
        settings, engine, renderers, catalog, metrics, names, drain, outcomes, keeper, admin, callers, tenancy, stored
    )
    app = FastAPI(
        title="Loraplex",
        version=__version__,
        docs_url=None,  # their pages fetch scripts from elsewhere; the schema itself is at /openapi.json
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_living,
    )
    if state is not None:
        services = replace(services, batch_work=make_batch_work(app, services, state))
    app.state.services = services
    include_families(app)
    install_handlers(app)
    install_openapi(app)
    app.add_middleware(HoldMiddleware)
    app.add_middleware(GuardMiddleware, callers=callers, tenancy=tenancy, drain=drain, metrics=metrics)
    app.add_middleware(RecordMiddleware, log_requests=settings.request_log, metrics=metrics, tracing=tracing)
    if settings.root_path:
        app.add_middleware(RootPath, prefix=settings.root_path)
    return app


@contextlib.asynccontextmanager
async def _living(app: FastAPI) -> AsyncIterator[None]:
    """While the app lives, each word of the engine reaches the metrics, and what is pinned stays in memory."""
    services: Services = app.state.services
    services.engine.tell(services.metrics.engine.absorb)
    disk = watch_disk(services.catalog, services.metrics)
    work = [disk, services.keeper.run(), services.tenancy.keep_writing()]
    if services.batch_work is not None:
        work.append(services.batch_work.worker.run())
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
