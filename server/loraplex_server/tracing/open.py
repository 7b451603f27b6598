"""Tracing as the settings want it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from loraplex_server.api.process.start_error import StartError
from loraplex_server.tracing.interface import Tracing

HOW_TO_INSTALL = "--otlp-traces-endpoint needs OpenTelemetry: pip install 'loraplex[tracing]' ({} is missing)"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"


@contextlib.contextmanager
def open_tracing(endpoint: str | None) -> Iterator[Tracing | None]:
    """Where spans go while the block runs; None, and nothing is imported, where they go nowhere.

    Args:
        endpoint: of a collector, with its path.

    Raises:
        StartError: the extra is missing, or the environment wants a protocol that is not spoken.
    """
    if endpoint is None:
        yield None
        return
    protocol = next((os.environ[name] for name in _PROTOCOLS if os.environ.get(name)), SPOKEN)
    if protocol != SPOKEN:
        raise StartError(f"traces are sent by {SPOKEN}: set {_PROTOCOLS[0]} to that, or unset it (it is '{protocol}')")
    try:
        from loraplex_server.tracing.spans import OtelTracing
    except ModuleNotFoundError as error:
        raise StartError(HOW_TO_INSTALL.format(error.name)) from error
    tracing = OtelTracing(endpoint)
    try:
        yield tracing
    finally:
        tracing.close()
