"""The disk cache of remote adapters, where there is one."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from loraplex_adapters.sources.cache import DiskUsage
from loraplex_server.metrics.series import Page


class DiskCacheMetrics(Collector):
    """Nothing until it is told of a cache.

    Args:
        page: of the server.
    """

    def __init__(self, page: Page) -> None:
        self._usage: DiskUsage | None = None
        page.collect(self)

    def absorb(self, usage: DiskUsage) -> None:
        """How full the cache is now."""
        self._usage = usage

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As it was when somebody last looked."""
        if self._usage is None:
            return
        for name, text, value in (
            ("bytes", "Copies of remote adapters on the disk.", self._usage.nbytes),
            ("limit_bytes", "What these copies may take.", self._usage.limit),
            ("entries", "Copies of remote adapters on the disk.", self._usage.entries),
        ):
            yield GaugeMetricFamily(f"loraplex_disk_cache_{name}", text, value)
