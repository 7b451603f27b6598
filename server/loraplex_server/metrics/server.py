"""The server itself: its version, its processes, and how it answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from loraplex_server import __version__
from loraplex_server.engine.interface import Engine
from loraplex_server.metrics.load_report import load_report
from loraplex_server.metrics.series import Page


class Door(Protocol):
    """What is known of requests at the door."""

    leaving: bool  # the server is on its way out
    in_flight: int


class ServerMetrics(Collector):
    """Read when Prometheus asks; nothing of an engine before `watch`.

    Args:
        page: of the server.
    """

    def __init__(self, page: Page) -> None:
        self._watched: tuple[Engine, Door] | None = None
        about = "Responses of the API, by status; probes apart."
        self._responses = page.counter("loraplex_http_responses", about, ("code",))
        page.gauge("loraplex_build_info", "What runs here.", ("version",)).labels(__version__).set(1)
        page.collect(self)
        page.collect(ProcessCollector(registry=None))
        page.collect(ProcessCollector(namespace="loraplex_engine", pid=self._engine_pid, registry=None))

    def watch(self, engine: Engine, door: Door) -> None:
        """Tell of these from now on."""
        self._watched = engine, door

    def load_report(self, asked: str) -> str | None:
        """The load as a header's value; None where it was asked for in no known way, or nothing is known of it."""
        return None if self._watched is None else load_report(asked, self._watched[0].stats)

    def responded(self, status: int) -> None:
        """Count a response."""
        self._responses.labels(str(status)).inc()

    def collect(self) -> Iterator[Metric]:
        """As it is now."""
        if self._watched is None:
            return
        engine, door = self._watched
        yield GaugeMetricFamily("loraplex_engine_up", "Whether the engine takes requests.", engine.healthy)
        yield CounterMetricFamily("loraplex_engine_restarts", "Starts of an engine that had died.", engine.restarts)
        yield GaugeMetricFamily(
            "loraplex_http_requests_in_flight", "Requests of the API, probes apart.", door.in_flight
        )
        yield GaugeMetricFamily("loraplex_draining", "Whether the server is on its way out.", door.leaving)

    def _engine_pid(self) -> int | str:
        info = None if self._watched is None else self._watched[0].info
        return "none" if info is None else info.pid
