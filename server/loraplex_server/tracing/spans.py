"""A request's span and those of its parts, told to OpenTelemetry when it has ended.

The engine's process knows nothing of spans: it says how long each part took, and they are laid back from the moment at
which the first token came. Only the span of the request itself is begun when it comes, so that its ids are in the log.
"""

from __future__ import annotations

import time

from opentelemetry import propagate
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from starlette.datastructures import Headers
from starlette.types import Scope

from loraplex_server.api.record import RequestRecord
from loraplex_server.tracing.attributes import server_attributes, span_name
from loraplex_server.tracing.outcome import error_type
from loraplex_server.tracing.parts import parts_of
from loraplex_server.tracing.provider import Provider
from loraplex_server.tracing.traceparent import TraceParent


class OtelTracing:
    """Implements Tracing. Args: endpoint: of a collector, with its path."""

    def __init__(self, endpoint: str) -> None:
        self._provider = Provider(endpoint)

    def begin(self, record: RequestRecord, headers: Headers) -> OtelSpan:
        """See Tracing."""
        return OtelSpan(self._provider, record, headers)

    def close(self) -> None:
        """See Tracing."""
        self._provider.close()


class OtelSpan:
    """Implements RequestSpan."""

    def __init__(self, provider: Provider, record: RequestRecord, headers: Headers) -> None:
        self._tracer = provider.tracer
        # What was measured by perf_counter, as time of the day in nanoseconds.
        self._epoch = time.time_ns() - time.perf_counter_ns()
        self._span = self._tracer.start_span(
            record.method,
            context=propagate.extract(headers),
            kind=SpanKind.SERVER,
            start_time=self._at(record.arrival),
        )
        context = self._span.get_span_context()
        if context.is_valid:
            ids = f"{context.trace_id:032x}", f"{context.span_id:016x}"
            record.trace = TraceParent(*ids, context.trace_flags.sampled)

    def end(self, record: RequestRecord, scope: Scope) -> None:
        """See RequestSpan."""
        span = self._span
        if not span.is_recording():
            return
        now = time.perf_counter()
        span.update_name(span_name(record, scope))
        span.set_attributes(server_attributes(record, scope))
        _mark(span, error_type(record))
        inside = set_span_in_context(span)
        for part in parts_of(record, now):
            start = self._at(part.start)
            child = self._tracer.start_span(part.name, inside, attributes=part.attributes, start_time=start)
            _mark(child, part.error)
            child.end(self._at(part.end))
        span.end(self._at(now))

    def _at(self, moment: float) -> int:
        return self._epoch + int(moment * 1e9)


def _mark(span: Span, error: str | None) -> None:
    """As failed, where there was an error."""
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR, error))
