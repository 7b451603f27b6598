"""All the metrics of one server, and their text."""

from __future__ import annotations

import time

from loraplex_server.engine.messages import EngineInfo, EngineStats
from loraplex_server.metrics.adapter_names import AdapterNames
from loraplex_server.metrics.disk_cache import DiskCacheMetrics
from loraplex_server.metrics.engine import EngineMetrics
from loraplex_server.metrics.requests import RequestMetrics
from loraplex_server.metrics.series import Page
from loraplex_server.metrics.server import ServerMetrics
from loraplex_server.metrics.tenants import TenantMetrics

# Whatever the scraper accepts: as OpenMetrics, `vllm:x` would have to be `vllm_x` for most scrapers.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Routers scrape every 50 ms; the engine speaks four times a second, and each of its words is told at once.
FRESH_S = 0.25


class Metrics:
    """Args: model_name: label of all series of vLLM's names. max_adapters, max_tenants: with series of their own."""

    def __init__(self, model_name: str, max_adapters: int, max_tenants: int = 100) -> None:
        page = self._page = Page()
        self.requests = RequestMetrics(page, model_name, AdapterNames(max_adapters))
        self.tenants = TenantMetrics(page, AdapterNames(max_tenants))
        self.engine = EngineMetrics(page, model_name)
        self.server = ServerMetrics(page)
        self.disk_cache = DiskCacheMetrics(page)
        self._text = b""
        self._told: EngineStats | None = None
        self._written_at = float("-inf")

    def render(self, info: EngineInfo | None, stats: EngineStats) -> bytes:
        """The text of /metrics: the engine's latest word, and whatever else was known FRESH_S ago."""
        now = time.monotonic()
        if stats is not self._told or now - self._written_at >= FRESH_S:
            self.engine.absorb(info, stats)
            self._text = self._page.text()
            self._told, self._written_at = stats, now
        return self._text
