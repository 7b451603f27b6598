"""A whole server in one process beside the engine's: build the parts, serve, take them down in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterable

import uvicorn
import uvloop

from loraplex_server.api.access.exposure import WARNING as EXPOSED
from loraplex_server.api.access.exposure import is_exposed
from loraplex_server.api.access.tenancy import Tenancy, open_tenancy
from loraplex_server.api.adapters.catalogue import build_catalog
from loraplex_server.api.app import create_app
from loraplex_server.api.process.batch_work import kept_batches
from loraplex_server.api.process.drain import Drain
from loraplex_server.api.process.open_files import allow_open_files
from loraplex_server.api.process.server import LAST_WORDS_S, GracefulServer
from loraplex_server.api.process.start_error import StartError
from loraplex_server.api.process.starting import load_renderer_beside, raise_start_error
from loraplex_server.api.process.tls import Certificate
from loraplex_server.api.services import Services
from loraplex_server.batch.state.state import State
from loraplex_server.engine.client import EngineClient
from loraplex_server.engine.messages import EngineInfo
from loraplex_server.logs.begin import begin_log
from loraplex_server.logs.process import log_everything
from loraplex_server.settings import ServeSettings
from loraplex_server.settings.quantity import format_bytes
from loraplex_server.tracing.interface import Tracing
from loraplex_server.tracing.open import open_tracing

logger = logging.getLogger(__name__)

OnReady = Callable[[str, EngineInfo], None]


def run(settings: ServeSettings, on_ready: OnReady | None = None, lines: Iterable[str] = ()) -> None:
    """Serve until a signal ends it.

    Args:
        settings: of the server.
        lines: what the log shall say of how they were spelled.
        on_ready: called once with the server's URL and the engine's facts, when it answers requests.

    Raises:
        StartError: the address is taken, a file cannot be used, or the model or its tokenizer cannot be served.
    """
    begin_log(settings)
    log_everything()
    allow_open_files()
    for line in lines:
        logger.info("%s", line)
    with (
        _bind(settings.host, settings.port) as listener,
        kept_batches(settings) as state,
        open_tracing(settings.otlp_traces_endpoint) as tracing,
    ):
        uvloop.run(_serve(settings, listener, on_ready, state, tracing))


async def _serve(
    settings: ServeSettings,
    listener: socket.socket,
    on_ready: OnReady | None,
    state: State | None = None,
    tracing: Tracing | None = None,
) -> None:
    with contextlib.closing(open_tenancy(settings)) as tenancy:
        await _serve_tenants(settings, tenancy, listener, on_ready, state, tracing)


async def _serve_tenants(
    settings: ServeSettings,
    tenancy: Tenancy,
    listener: socket.socket,
    on_ready: OnReady | None,
    state: State | None,
    tracing: Tracing | None,
) -> None:
    catalog = build_catalog(settings)
    chain = settings.ssl_certfile
    certificate = None if chain is None else Certificate(chain, settings.ssl_keyfile)
    engine = EngineClient(settings.engine_config())
    starting = asyncio.create_task(engine.start())
    try:
        renderer = await load_renderer_beside(settings, starting)
        drain = Drain()
        app = create_app(
            settings, engine, renderer, catalog, drain=drain, tenancy=tenancy, state=state, tracing=tracing
        )
        config = uvicorn.Config(
            app,
            http="httptools",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=LAST_WORDS_S,
            ssl_certfile=chain,
            ssl_keyfile=settings.ssl_keyfile,
        )
        server = GracefulServer(
            config, drain, settings.shutdown_timeout, engine.close, certificate, delay=settings.shutdown_delay
        )
        # It listens while the model loads: probes are told "not ready" instead of meeting a closed port.
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.wait({starting, serving}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and starting.exception() is None:
            _announce(app.state.services, listener, starting.result(), on_ready)
        else:
            server.should_exit = True
        try:
            await serving
        except OSError as error:  # another server bound the address too, and listened first
            raise StartError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}") from error
        if starting.done():
            raise_start_error(starting)
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await engine.close()
        await catalog.close()


def _announce(services: Services, listener: socket.socket, info: EngineInfo, on_ready: OnReady | None) -> None:
    host, port = listener.getsockname()[:2]
    scheme = "http" if services.settings.ssl_certfile is None else "https"
    url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    exposed = is_exposed(host, services.callers)
    if exposed:
        logger.warning(EXPOSED, url)
    logger.info(
        "ready",
        extra={
            "fields": {
                "url": url,
                "model": services.names.base,
                "device": info.device,
                "dtype": info.dtype,
                "max_model_len": info.max_model_len,
                "kv_cache": format_bytes(info.kv_cache_bytes),
                "adapters": len(services.catalog.names()),
                **({"keys": "none: open to everyone"} if exposed else {}),
            }
        },
    )
    if on_ready is not None:
        on_ready(url, info)


def _bind(host: str, port: int) -> socket.socket:
    """Take the address before anything is loaded; listening comes later."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listener
