"""Around everything, the door too: a request's id, its log line, and the answer to what nobody caught."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loraplex_server.api.access.guard import is_guarded
from loraplex_server.api.answers.time_left import timeout_header
from loraplex_server.api.errors import internal_error
from loraplex_server.api.forms.responses import error_response
from loraplex_server.api.record import RequestRecord, request_id_from
from loraplex_server.logs import log_request

logger = logging.getLogger(__name__)


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
        asked = Headers(scope=scope)
        record = RequestRecord(request_id_from(asked.get("x-request-id")), scope["path"][:200])
        record.timeout_header = timeout_header(asked)
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
