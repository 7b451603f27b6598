"""What is said of one request in the log, gathered on its way."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from loraplex_server.api.access.caller import ANYONE, Caller
from loraplex_server.api.adapters.holds import Wait
from loraplex_server.api.asked import Asked
from loraplex_server.api.routed import ROUTED
from loraplex_server.logs.printable import PLAIN_WORD
from loraplex_server.logs.spoken import Spoken
from loraplex_server.metrics.timeline import Phases
from loraplex_server.tenants.limiter import Ticket
from loraplex_server.tenants.usage import Amount
from loraplex_server.tracing.traceparent import TraceParent


def request_id_from(header: str | None) -> str:
    """The sender's id where it can stand in a log and a header as it is, else a new one."""
    if header is not None and PLAIN_WORD.fullmatch(header):
        return header
    return uuid.uuid4().hex


@dataclass
class RequestRecord:
    """One request; what stays None is left out of the log."""

    request_id: str
    endpoint: str
    method: str = ""
    client: str = ""  # address that it came from
    batch: str | None = None  # that it is a line of
    trace: TraceParent | None = None  # that it belongs to, and this server's span in it, if there is one
    arrival: float = field(default_factory=time.perf_counter)
    caller: Caller = ANYONE
    ticket: Ticket | None = None  # of a request for work
    used: Amount | None = None  # None: the engine did not work on it
    timeout_header: tuple[str, str] | None = None  # its name and its value
    routed: Mapping[str, str] = field(default_factory=dict)  # what a router said of it, for the log
    model: str | None = None
    adapters: tuple[str, ...] = ()
    generation: str | None = None
    stream: bool | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    fetches: Sequence[Wait] = ()  # of adapters from elsewhere
    phases: Sequence[Phases] = ()  # of each prompt
    asked: Asked | None = None
    finish_reasons: tuple[str, ...] = ()  # of the answers that ended, by index
    spoken: Spoken | None = None  # where the log shall have it
    ttft_s: float | None = None
    outcome: str | None = None
    status: int | None = None

    @property
    def queue_s(self) -> float | None:
        """Arrival at the engine to first scheduled, of the first prompt."""
        started = self.phases[0].started if self.phases else None
        return None if started is None else started.queue_s

    @property
    def final_outcome(self) -> str:
        """Its word in logs and metrics."""
        return self.outcome or ("ok" if self.status is not None and self.status < 400 else "error")

    def log_fields(self) -> dict[str, Any]:
        """Fields of the request's line."""
        return {
            "request_id": self.request_id,
            "method": self.method,
            "endpoint": self.endpoint,
            "batch": self.batch,
            "status": self.status,
            "tenant": self.caller.tenant or None,
            "key": self.caller.key_id or None,
            "outcome": self.final_outcome,
            "model": self.model,
            "adapter": "+".join(self.adapters) or None,
            "generation": self.generation or None,
            "stream": self.stream,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "output_tokens": self.output_tokens,
            **{name: self.routed.get(name) for name in ROUTED},
            **self._times(),
            **({} if self.spoken is None else self.spoken.fields()),
        }

    def _times(self) -> dict[str, float | None]:
        """In seconds; of several prompts, the first one's."""
        started = self.phases[0].started if self.phases else None
        return {
            "fetch_s": _rounded(sum(wait.seconds for wait in self.fetches)) if self.fetches else None,
            "queue_s": _rounded(self.queue_s),
            "load_s": round(started.load_s, 6) if started is not None and self.adapters else None,
            "prefill_s": None if started is None else round(started.prefill_s, 6),
            "ttft_s": _rounded(self.ttft_s),
            "decode_s": _rounded(self._decode_s()),
            "total_s": round(time.perf_counter() - self.arrival, 6),
        }

    def _decode_s(self) -> float | None:
        """First token to last, of all answers."""
        begun = [(phases.first, phases.last) for phases in self.phases if phases.first and phases.last]
        return max(last for _, last in begun) - min(first for first, _ in begun) if begun else None

    def line_context(self) -> dict[str, str]:
        """What each line of the log says that is written on its behalf."""
        fields = {"request_id": self.request_id}
        if self.trace is not None:
            fields |= {"trace_id": self.trace.trace_id, "span_id": self.trace.span_id}
        return fields


def record_of(request: Request) -> RequestRecord:
    """The record that RecordMiddleware made."""
    record = request.state.record
    if not isinstance(record, RequestRecord):
        raise TypeError("the request passed no RecordMiddleware")
    return record


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
