"""Every exception to a response in the envelope of the API that was asked."""

from __future__ import annotations

import logging
from typing import cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from loraplex_adapters.errors import AdapterError
from loraplex_server.api.access.rate_limits import limit_reached, never_fits
from loraplex_server.api.answers.departure import ClientGoneError
from loraplex_server.api.errors import ApiError, bad_request, from_domain, unavailable
from loraplex_server.api.forms.responses import error_response
from loraplex_server.api.record import record_of
from loraplex_server.api.services import services_of
from loraplex_server.batch.state.database import StateError
from loraplex_server.engine.interface import EngineError
from loraplex_server.tenants.errors import KeyStoreError, UsageError
from loraplex_server.tenants.grant import DEFAULT
from loraplex_server.tenants.limiter import LimitReachedError, NeverFitsError

logger = logging.getLogger(__name__)

# nginx's status for a client that closed the connection; only the log sees it.
CLIENT_GONE = 499
REJECTIONS = {"queue_full": "max_num_queued_reqs", "unavailable": "engine_unavailable"}


def install_handlers(app: FastAPI) -> None:
    """Handlers for what routes raise; anything else is RecordMiddleware's."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(EngineError, _domain_error)
    app.add_exception_handler(AdapterError, _domain_error)
    app.add_exception_handler(KeyStoreError, _store_error)
    app.add_exception_handler(UsageError, _store_error)
    app.add_exception_handler(StateError, _store_error)
    app.add_exception_handler(LimitReachedError, _limit_error)
    app.add_exception_handler(NeverFitsError, _limit_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_query)
    app.add_exception_handler(ClientGoneError, _client_gone)
    app.add_exception_handler(ClientDisconnect, _client_gone)  # starlette's, while it sent the body


async def _api_error(request: Request, error: Exception) -> Response:
    error = cast("ApiError", error)
    record = record_of(request)
    record.outcome = record.outcome or error.outcome
    if error.outcome in REJECTIONS:
        services_of(request).metrics.requests.reject(REJECTIONS[error.outcome])
    return error_response(error, request.url.path)


async def _store_error(request: Request, error: Exception) -> Response:
    """What is kept lies under paths that are for the log."""
    logger.error("request %s: %s", record_of(request).request_id, error)
    return await _api_error(
        request, unavailable("What the server keeps cannot be read or written now", "state_unavailable")
    )


async def _limit_error(request: Request, error: Exception) -> Response:
    """Of a key's tokens; its requests are counted at the door."""
    if isinstance(error, NeverFitsError):
        return await _api_error(request, never_fits(error))
    reached = cast("LimitReachedError", error)
    services_of(request).metrics.tenants.limited(record_of(request).caller.tenant or DEFAULT, reached.kind)
    return await _api_error(request, limit_reached(reached))


async def _domain_error(request: Request, error: Exception) -> Response:
    return await _api_error(request, from_domain(cast("EngineError | AdapterError", error)))


async def _http_error(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    if error.status_code == 404:
        message, code = f"There is no {request.url.path[:200]}", "unknown_url"
    elif error.status_code == 405:
        message, code = f"{request.url.path[:200]} does not take {request.method[:20]}", "method_not_allowed"
    else:
        message, code = str(error.detail)[:200], "http_error"
    return await _api_error(request, ApiError(error.status_code, message, code=code, headers=error.headers))


async def _bad_query(request: Request, error: Exception) -> Response:
    """Of a URL: bodies are read by hand."""
    fault = cast("RequestValidationError", error).errors()[0]
    name = str(fault["loc"][1])[:100]  # the first says that it is of the query
    return await _api_error(request, bad_request(f"'{name}': {str(fault['msg'])[:200]}", param=name))


async def _client_gone(request: Request, error: Exception) -> Response:
    record = record_of(request)
    record.outcome = record.outcome or "cancelled"
    return Response(status_code=CLIENT_GONE)
