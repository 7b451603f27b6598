"""All the metrics of one server, and their text."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest

from loraplex_server.engine.messages import EngineInfo, EngineStats
from loraplex_server.metrics.adapter_names import AdapterNames
from loraplex_server.metrics.engine import EngineMetrics
from loraplex_server.metrics.requests import RequestMetrics
from loraplex_server.metrics.tenants import TenantMetrics

# Whatever the scraper accepts: as OpenMetrics, prometheus_client would turn `vllm:x` into `vllm_x` for most scrapers.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Routers scrape every 50 ms; rendering takes a few milliseconds, and the engine speaks four times a second.
FRESH_S = 0.25


class Metrics:
    """Args: model_name: label of all series of vLLM's names. max_adapters, max_tenants: with series of their own."""

    def __init__(self, model_name: str, max_adapters: int, max_tenants: int = 100) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # each counter would bring a second series
        self._registry = CollectorRegistry()
        self.requests = RequestMetrics(self._registry, model_name, AdapterNames(max_adapters))
        self.tenants = TenantMetrics(self._registry, AdapterNames(max_tenants))
        self.engine = EngineMetrics(self._registry, model_name)
        self._text = b""
        self._rendered_at = float("-inf")

    def render(self, info: EngineInfo | None, stats: EngineStats) -> bytes:
        """The text of /metrics, at most FRESH_S old."""
        now = time.monotonic()
        if now - self._rendered_at >= FRESH_S:
            self.engine.absorb(info, stats)
            self._text = generate_latest(self._registry)
            self._rendered_at = now
        return self._text
