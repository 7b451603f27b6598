"""What those who run the server ask: is it alive, is it ready, how does it do. Open without a key."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from loraplex_server import __version__
from loraplex_server.api.document.openapi import answers
from loraplex_server.api.forms.responses import json_response
from loraplex_server.api.services import services_of
from loraplex_server.metrics.registry import CONTENT_TYPE

router = APIRouter()


def _says(well: str, else_: str) -> dict[int | str, dict[str, Any]]:
    return answers({200: ("Yes.", {"status": well}), 503: ("No, and why.", {"status": else_})})


@router.get("/health", responses=_says("ok", "the engine is not running"))
@router.get("/ping", include_in_schema=False)
async def health(request: Request) -> Response:
    """200 while the engine lives, however busy; else 503."""
    if services_of(request).engine.healthy:
        return json_response({"status": "ok"})
    return json_response({"status": "the engine is not running"}, 503)


@router.get("/ready", responses=_says("ready", "draining"))
async def ready(request: Request) -> Response:
    """200 while new requests are welcome; 503 while the model loads, the engine restarts or the server drains."""
    services = services_of(request)
    if services.drain.leaving:
        return json_response({"status": "draining"}, 503)
    if not services.engine.healthy:
        return json_response({"status": "the engine is not ready"}, 503)
    return json_response({"status": "ready"})


@router.get("/version", responses=answers({200: ("The version.", {"version": __version__})}))
async def version() -> Response:
    """The server's version."""
    return json_response({"version": __version__})


async def metrics(request: Request) -> Response:
    """Prometheus' text format, version 0.0.4, whatever the scraper accepts."""
    services = services_of(request)
    text = services.metrics.render(services.engine.info, services.engine.stats)
    return Response(text, headers={"content-type": CONTENT_TYPE})


# Asked twenty times a second, and nothing of it is FastAPI's to check.
router.add_route("/metrics", metrics, include_in_schema=False)
