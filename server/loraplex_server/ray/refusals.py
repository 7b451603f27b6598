"""Routes whose answer would be one replica's alone: they are refused, with the way that reaches all replicas."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import NoReturn

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute

from loraplex_server.api.access.visible import Visible
from loraplex_server.api.adapters.lora_numbers import LoraNumbers
from loraplex_server.api.errors import ApiError
from loraplex_server.api.schemas.sampling import AdapterWeight, LoraScale
from loraplex_server.api.services import Services

CODE = "not_behind_ray_serve"
_ADAPTERS = (
    "Adapters are not changed over the API behind Ray Serve: that would reach one replica of several. Put the adapter "
    "into the folder of --adapters, where each replica finds it at its next request, or name it in lora_modules"
)
_FILES = (
    "There are no files and batches behind Ray Serve: each replica would have its own. Use `loraplex run-batch --url`"
)
_USAGE = "Usage is counted by each replica alone behind Ray Serve; the sums are in the metrics"
_NUMBERS = "Adapters have no numbers behind Ray Serve, where replicas would count differently: name them in 'adapters'"

_ANY = ("GET", "POST", "DELETE", "PATCH")
REFUSED: Sequence[tuple[str, Sequence[str], str]] = (
    ("/v1/adapters", ("POST",), _ADAPTERS),
    ("/v1/adapters/{name:path}", ("PATCH", "DELETE"), _ADAPTERS),
    ("/v1/load_lora_adapter", ("POST",), _ADAPTERS),
    ("/v1/unload_lora_adapter", ("POST",), _ADAPTERS),
    ("/v1/files", _ANY, _FILES),
    ("/v1/files/{rest:path}", _ANY, _FILES),
    ("/v1/batches", _ANY, _FILES),
    ("/v1/batches/{rest:path}", _ANY, _FILES),
    ("/v1/usage", ("GET",), _USAGE),
)


def refuse_what_is_apart(app: FastAPI) -> None:
    """Have an app of create_app refuse them, behind its door and in its envelopes."""
    routes = [
        APIRoute(path, _refusing(message), methods=list(methods), include_in_schema=False)
        for path, methods, message in REFUSED
    ]
    app.router.routes[:0] = routes
    services: Services = app.state.services
    app.state.services = replace(services, lora_numbers=_NoNumbers())


def _refusing(message: str) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:
        raise _refusal(message)

    return refuse


class _NoNumbers(LoraNumbers):
    """They are a process's own, in the order in which it met the adapters."""

    def listed(self, visible: Visible) -> NoReturn:
        """Raises ApiError: 501."""
        raise _refusal(_NUMBERS)

    def adapters(self, visible: Visible, scales: Sequence[LoraScale]) -> list[AdapterWeight]:
        """Raises ApiError: 501."""
        raise _refusal(_NUMBERS)


def _refusal(message: str) -> ApiError:
    return ApiError(501, message, code=CODE, outcome="unsupported")
