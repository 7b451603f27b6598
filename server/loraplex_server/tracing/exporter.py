"""Spans on their way to a collector that may be away: nobody waits for it, and the log says it once."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger(__name__)

# They complain of each batch, of each attempt at it, and of each span for which there is no room.
_TALKATIVE = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal", "opentelemetry.sdk.trace.export")


class Complaints(logging.Handler):
    """Keeps the latest complaint of OpenTelemetry's exporters, and passes on what its other parts say."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.latest = ""
        library = logging.getLogger("opentelemetry")
        library.handlers[:] = [self]
        library.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Called by the library's loggers."""
        if record.name.startswith(_TALKATIVE):
            self.latest = record.getMessage()
        else:
            logger.log(record.levelno, "%s: %s", record.name, record.getMessage(), exc_info=record.exc_info)


class PatientExporter(SpanExporter):
    """Sends through another exporter, and logs when that begins to fail and when it works again.

    Args:
        inner: that sends. endpoint: where to, for the log.
    """

    def __init__(self, inner: SpanExporter, endpoint: str) -> None:
        self._inner = inner
        self._endpoint = endpoint
        self._complaints = Complaints()
        self._lost = 0  # since it began to fail
        self._closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Called by the processor, on its thread."""
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                logger.info("traces reach %s again; %d spans were lost", self._endpoint, self._lost)
            self._lost = 0
        else:
            if not self._lost and not self._closed:
                logger.warning(
                    "traces cannot be sent to %s: %s. Requests are served on, and spans are lost until it answers",
                    self._endpoint,
                    self._complaints.latest or "no reason was given",
                )
            self._lost += len(spans)
        return result

    def shutdown(self) -> None:
        """Stop, also in the middle of an attempt."""
        self._closed = True
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return self._inner.force_flush(timeout_millis)
