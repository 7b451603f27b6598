"""OpenTelemetry's machinery, made for one server and told to nobody else."""

from __future__ import annotations

import logging
import os
import threading
import uuid

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer

from loraplex_server import __version__
from loraplex_server.tracing.exporter import PatientExporter

logger = logging.getLogger(__name__)

FLUSH_S = 3.0
LAST_ATTEMPT_S = 0.5
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class Provider:
    """The tracer, with a bounded queue and a thread behind it.

    OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER(_ARG), OTEL_BSP_*, OTEL_EXPORTER_OTLP_(TRACES_)
    HEADERS, TIMEOUT, COMPRESSION and CERTIFICATE and OTEL_SDK_DISABLED mean what OpenTelemetry says.

    Args:
        endpoint: with its path.
    """

    def __init__(self, endpoint: str) -> None:
        self._exporter = PatientExporter(OTLPSpanExporter(endpoint=endpoint), endpoint)
        # Not the process's own one, which FastAPI would make spans of its own for.
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self.tracer: Tracer = self._provider.get_tracer("loraplex", __version__)
        if os.environ.get(CAPTURE, "").lower() not in ("", "false", "no_content"):
            logger.warning("%s: spans never have prompts and answers; --log-prompts puts them into the log", CAPTURE)

    def close(self) -> None:
        """Send what is queued; what could not be sent within FLUSH_S is lost."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces' end", daemon=True)
        ending.start()
        ending.join(FLUSH_S)
        if ending.is_alive():
            self._exporter.shutdown()
            ending.join(LAST_ATTEMPT_S)


def _resource() -> Resource:
    """What the environment says wins over what is said here."""
    ours = Resource(
        {"service.name": "loraplex", "service.version": __version__, "service.instance.id": str(uuid.uuid4())}
    )
    return Resource.create().merge(ours).merge(OTELResourceDetector().detect())
