"""Errors that are answers. Their own envelope is OpenAI's: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loraplex_adapters.errors import (
    AdapterChangedError,
    AdapterConflictError,
    AdapterError,
    AdapterNameError,
    DiskFullError,
    NotRememberedError,
    SourceNotAllowedError,
    SourceNotFoundError,
    SourceUnavailableError,
    UnknownAdapterError,
)
from loraplex_server.engine.interface import (
    AdapterUnusableError,
    DeadlineExceededError,
    EngineDeadError,
    EngineError,
    InvalidRequestError,
    QueueFullError,
)
from loraplex_server.logs.redaction import redact

# Characters of a message; a refused adapter's may name thousands of tensors.
MAX_MESSAGE = 2000
INVALID = "invalid_request_error"
# Long enough for the supervisor to start an engine again, short enough that OpenAI's client still waits for it.
RETRY_AFTER_S = 2

# Whatever else is wrong with an adapter is a 400.
_ADAPTER_ERRORS: Mapping[type[AdapterError], tuple[int, str]] = {
    AdapterNameError: (400, "invalid_adapter_name"),
    AdapterConflictError: (409, "adapter_conflict"),
    AdapterChangedError: (503, "adapter_changing"),
    SourceNotAllowedError: (403, "source_not_allowed"),
    SourceNotFoundError: (404, "source_not_found"),
    SourceUnavailableError: (503, "source_unavailable"),
    DiskFullError: (503, "disk_full"),
    NotRememberedError: (503, "state_unavailable"),
}
_PARAMS: Mapping[type[AdapterError], str] = {AdapterNameError: "name", AdapterConflictError: "name"}


class ApiError(Exception):
    """An answer that is an error; `outcome` is its word in logs and metrics."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = INVALID,
        param: str | None = None,
        code: str | int | None = None,
        headers: Mapping[str, str] | None = None,
        outcome: str = "invalid",
    ) -> None:
        self.message = redact(message)
        super().__init__(self.message)
        self.status = status
        self.type = type
        self.param = param
        self.code = code
        self.headers = dict(headers or {})
        self.outcome = outcome

    def envelope(self) -> dict[str, Any]:
        """OpenAI's body, also of an error event in its streams; those of other APIs are in envelopes.py."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: what was sent cannot be served, and sending it again will not help."""
    return ApiError(400, message, param=param, code=code)


def unavailable(message: str, code: str, headers: Mapping[str, str] | None = None) -> ApiError:
    """503: the request is fine, the server is not ready for it."""
    all_headers = {"retry-after": str(RETRY_AFTER_S), **(headers or {})}
    return ApiError(503, message, type="server_error", code=code, headers=all_headers, outcome="unavailable")


def model_not_found(name: str, param: str = "model") -> ApiError:
    """404: neither the base model nor an adapter has this name."""
    message = f"The model '{name[:200]}' does not exist; GET /v1/models lists those that do"
    return ApiError(404, message, param=param, code="model_not_found", outcome="not_found")


def deadline_exceeded(message: str) -> ApiError:
    """408: the request had too little time.

    It is no 5xx, which proxies send again by themselves, and OpenAI's and Anthropic's clients, which send a 408 again,
    do not where a header says so: sent again with the same time, it would only find more of a crowd.
    """
    headers = {"x-should-retry": "false"}
    code = outcome = "deadline_exceeded"
    return ApiError(408, message, type="timeout_error", code=code, headers=headers, outcome=outcome)


def internal_error(request_id: str) -> ApiError:
    """500: says nothing of what went wrong, only where to look it up."""
    message = f"Internal error; the server's log has it under request id {request_id}"
    return ApiError(500, message, type="server_error", code="internal_error", outcome="error")


def from_domain(error: EngineError | AdapterError) -> ApiError:
    """The answer to an error of the engine or the adapters; a very long message is cut."""
    message = _bounded(str(error))
    if isinstance(error, QueueFullError):
        headers = {"retry-after": str(error.retry_after)}
        return ApiError(429, message, type="rate_limit_error", code="queue_full", headers=headers, outcome="queue_full")
    if isinstance(error, DeadlineExceededError):
        return deadline_exceeded(message)
    if isinstance(error, EngineDeadError):
        return unavailable(message, "engine_unavailable")
    if isinstance(error, UnknownAdapterError):
        return ApiError(404, message, param="model", code="model_not_found", outcome="not_found")
    for kind, (status, code) in _ADAPTER_ERRORS.items():
        if isinstance(error, kind):
            if status == 503:
                return unavailable(message, code)
            return ApiError(status, message, param=_PARAMS.get(kind), code=code, outcome=code)
    if isinstance(error, AdapterUnusableError | AdapterError):
        return ApiError(400, message, param="model", code="adapter_refused", outcome="adapter_refused")
    if isinstance(error, InvalidRequestError):
        return bad_request(message)
    return ApiError(500, message, type="server_error", code="engine_error", outcome="error")


def _bounded(message: str) -> str:
    if len(message) <= MAX_MESSAGE:
        return message
    end = message.rfind(", ", MAX_MESSAGE // 2, MAX_MESSAGE)
    end = MAX_MESSAGE if end < 0 else end
    return f"{message[:end]} ... and {len(message) - end} more characters, which are in the server's log"
