"""Around everything, the door too: a request's id, its log line, and the answer to what nobody caught."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loraplex_adapters.sources.remotes.trace import carrying
from loraplex_server.api.access.caller import batch_inside, caller_inside
from loraplex_server.api.access.guard import is_guarded
from loraplex_server.api.answers.time_left import timeout_header
from loraplex_server.api.errors import internal_error
from loraplex_server.api.forms.responses import error_response
from loraplex_server.api.record import RequestRecord, request_id_from
from loraplex_server.api.routed import routed_fields
from loraplex_server.logs.context import lines_about
from loraplex_server.logs.request_log import log_request
from loraplex_server.metrics import Metrics
from loraplex_server.tracing.interface import Tracing
from loraplex_server.tracing.traceparent import parse_traceparent

logger = logging.getLogger(__name__)


class RecordMiddleware:
    """Gives each request its record, id, times and span; answers what nothing else caught; writes the log line.

    Args:
        app: of everything else. log_requests: whether each has a line. metrics: told of each status.
        tracing: where each has a span; None: nowhere.
    """

    def __init__(self, app: ASGIApp, log_requests: bool, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._log_requests = log_requests
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        record = _record_of(scope, asked)
        shown = is_guarded(record.endpoint)
        span = self._tracing.begin(record, asked) if self._tracing is not None and shown else None
        scope.setdefault("state", {})["record"] = record
        traceparent = record.trace.header if span is not None and record.trace is not None else ""
        with lines_about(record.line_context()), carrying(traceparent):
            try:
                await self._answer(scope, receive, send, record)
            finally:
                if shown:
                    self._leave(record, caller_inside(scope) is None)
                if span is not None:
                    span.end(record, scope)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
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

    def _leave(self, record: RequestRecord, from_outside: bool) -> None:
        """Probes and scrapes, many times a second, would hide the rest; what this process asks itself is no HTTP."""
        if from_outside and record.status is not None:
            self._metrics.server.responded(record.status)
        if self._log_requests:
            log_request(record.log_fields())


def _record_of(scope: Scope, asked: Headers) -> RequestRecord:
    return RequestRecord(
        request_id_from(asked.get("x-request-id")),
        scope["path"][:200],
        method=scope["method"],
        client=(scope.get("client") or ("",))[0],
        batch=batch_inside(scope),
        trace=parse_traceparent(asked.get("traceparent")),
        timeout_header=timeout_header(asked),
        routed=routed_fields(asked),
    )
