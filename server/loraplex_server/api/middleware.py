"""Around every route: the request's id and log line, the key, and the door that closes when the server drains."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loraplex_server.api.caller import Caller, caller_inside
from loraplex_server.api.callers import Callers
from loraplex_server.api.drain import Drain
from loraplex_server.api.errors import ApiError, internal_error, unavailable
from loraplex_server.api.keys import unauthorized
from loraplex_server.api.record import RequestRecord, request_id_from
from loraplex_server.api.responses import error_response
from loraplex_server.logs import log_request
from loraplex_server.metrics.requests import RequestMetrics

logger = logging.getLogger(__name__)


# For probes, scrapers and readers. Whatever is not named here needs a key where the server has keys.
OPEN = frozenset({"/health", "/ping", "/ready", "/version", "/metrics", "/openapi.json"})


def is_guarded(path: str) -> bool:
    """Whether a path does work for clients, or tells of it."""
    return path not in OPEN


class RecordMiddleware:
    """Gives each request its record, id and times; answers what nothing else caught; writes the log line."""

    def __init__(self, app: ASGIApp, log_requests: bool) -> None:
        self._app = app
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(request_id_from(Headers(scope=scope).get("x-request-id")), scope["path"][:200])
        scope.setdefault("state", {})["record"] = record

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = headers["request-id"] = record.request_id  # OpenAI's name, and Anthropic's
                headers["openai-processing-ms"] = str(round((time.perf_counter() - record.arrival) * 1000))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            logger.exception("request %s failed", record.request_id)
            record.outcome = "error"
            if record.status is not None:
                raise  # the response has begun: all that is left is to cut the connection
            failure = error_response(internal_error(record.request_id), scope["path"])
            await failure(scope, receive, send_with_id)
        finally:
            if self._log_requests and is_guarded(record.endpoint):
                log_request(record.log_fields())


class GuardMiddleware:
    """Refuses guarded paths to who has no key, and to all once the server drains; counts those inside."""

    def __init__(self, app: ASGIApp, callers: Callers, drain: Drain, metrics: RequestMetrics) -> None:
        self._app = app
        self._callers = callers
        self._drain = drain
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or not is_guarded(scope["path"]):
            await self._app(scope, receive, send)
            return
        record: RequestRecord = scope["state"]["record"]
        try:
            record.caller = self._admit(scope)
        except ApiError as refusal:
            record.outcome = refusal.outcome
            await error_response(refusal, scope["path"])(scope, receive, send)
            return
        self._drain.in_flight += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._drain.in_flight -= 1

    def _admit(self, scope: Scope) -> Caller:
        if self._drain.begun:
            self._metrics.reject("draining")
            raise unavailable("The server is shutting down", "draining", {"connection": "close"})
        caller = caller_inside(scope) or self._callers.identify(Headers(scope=scope))
        if caller is None:
            raise unauthorized("Send a valid API key as 'Authorization: Bearer KEY'")
        return caller
