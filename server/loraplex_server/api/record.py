"""What is said of one request in the log, gathered on its way."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from loraplex_server.api.access.caller import ANYONE, Caller
from loraplex_server.tenants.limiter import Ticket
from loraplex_server.tenants.usage import Amount

_PLAIN_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def request_id_from(header: str | None) -> str:
    """The sender's id where it can stand in a log and a header as it is, else a new one."""
    if header is not None and _PLAIN_ID.fullmatch(header):
        return header
    return uuid.uuid4().hex


@dataclass
class RequestRecord:
    """One request; what stays None is left out of the log."""

    request_id: str
    endpoint: str
    arrival: float = field(default_factory=time.perf_counter)
    caller: Caller = ANYONE
    ticket: Ticket | None = None  # of a request for work
    used: Amount | None = None  # None: the engine did not work on it
    timeout_header: tuple[str, str] | None = None  # its name and its value
    model: str | None = None
    adapters: tuple[str, ...] = ()
    generation: str | None = None
    stream: bool | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    queue_s: float | None = None
    ttft_s: float | None = None
    outcome: str | None = None
    status: int | None = None

    @property
    def final_outcome(self) -> str:
        """Its word in logs and metrics."""
        return self.outcome or ("ok" if self.status is not None and self.status < 400 else "error")

    def log_fields(self) -> dict[str, Any]:
        """Fields of the request's line."""
        return {
            "id": self.request_id,
            "endpoint": self.endpoint,
            "status": self.status,
            "tenant": self.caller.tenant or None,
            "outcome": self.final_outcome,
            "model": self.model,
            "adapter": "+".join(self.adapters) or None,
            "generation": self.generation or None,
            "stream": self.stream,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "output_tokens": self.output_tokens,
            "queue_s": _rounded(self.queue_s),
            "ttft_s": _rounded(self.ttft_s),
            "total_s": _rounded(time.perf_counter() - self.arrival),
        }


def record_of(request: Request) -> RequestRecord:
    """The record that RecordMiddleware made."""
    record = request.state.record
    if not isinstance(record, RequestRecord):
        raise TypeError("the request passed no RecordMiddleware")
    return record


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
