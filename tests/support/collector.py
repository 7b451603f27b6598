"""A collector of traces: takes what OTLP's exporters send over HTTP, and reads it."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.answering import QuietHandler, answering


@dataclass(frozen=True)
class Collected:
    """One span, in Python's terms."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    trace_state: str
    start: int  # ns
    end: int
    attributes: dict[str, Any]
    status: str
    message: str


@dataclass
class Collector:
    """What came so far. `status` is what the next requests are answered with."""

    url: str = ""
    status: int = 200
    requests: list[dict[str, str]] = field(default_factory=list)  # their headers, with the path
    resource: dict[str, Any] = field(default_factory=dict)
    spans: list[Collected] = field(default_factory=list)

    def named(self, name: str) -> list[Collected]:
        return [span for span in self.spans if span.name == name]

    def roots(self) -> list[Collected]:
        """Spans of requests."""
        return [span for span in self.spans if span.kind == "SERVER"]

    def below(self, span: Collected) -> list[Collected]:
        """Its children, by their beginning."""
        return sorted((each for each in self.spans if each.parent_id == span.span_id), key=lambda each: each.start)

    def take(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = _attributes(group.resource.attributes)
            self.spans += [_read(span) for scope in group.scope_spans for span in scope.spans]


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of this machine."""
    collector = Collector()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.requests.append(
                {"path": self.path, **{key.lower(): value for key, value in self.headers.items()}}
            )
            if collector.status == 200:
                collector.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

    with answering(Handler) as url:
        collector.url = f"{url}/v1/traces"
        yield collector


def _read(span: Span) -> Collected:
    return Collected(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        trace_state=span.trace_state,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        status=("UNSET", "OK", "ERROR")[span.status.code],
        message=span.status.message,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs if isinstance(pair, KeyValue)}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, str(kind))
