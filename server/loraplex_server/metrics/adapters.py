"""Where the adapters are, how often they were found there, and what moved."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily

from loraplex_server.engine.messages import AdapterStats, EngineInfo
from loraplex_server.metrics import buckets
from loraplex_server.metrics.series import Counter, Family, Page
from loraplex_server.metrics.totals import Totals

HOST = "host"  # the tier of those that left the device


class AdapterMetrics:
    """The tier where adapters are used is called `gpu` or `cpu`, by the engine's device.

    Args:
        page: of the server.
        totals: of the engine.
    """

    def __init__(self, page: Page, totals: Totals) -> None:
        self._totals = totals

        def counter(name: str, text: str, *labels: str) -> Family[Counter]:
            return page.counter(f"loraplex_{name}", text, labels)

        self._loads = counter("adapter_loads", "Adapters brought to where they are used.", "source")
        self._failures = counter("adapter_load_failures", "Adapters that could not be loaded.").labels()
        self._evictions = counter("adapter_evictions", "Adapters that made room.", "tier")
        self._hits = counter("adapter_cache_hits", "Requests that found their adapter in a tier.", "tier")
        self._misses = counter("adapter_cache_misses", "Requests whose adapter was in no tier.").labels()
        self._load_seconds = page.histogram(
            "loraplex_adapter_load_seconds", "Time of one load from disk.", buckets.ADAPTER_LOAD
        ).labels()

    def absorb(self, info: EngineInfo | None, stats: AdapterStats) -> None:
        """Take the engine's latest word."""
        grow, tier = self._totals.grow, _tier(info)
        grow(self._loads.labels("disk"), stats.loads_total)
        grow(self._loads.labels(HOST), stats.host_loads_total)
        grow(self._failures, stats.load_failures_total)
        grow(self._evictions.labels(tier), stats.evictions_total)
        grow(self._evictions.labels(HOST), stats.host_evictions_total)
        grow(self._hits.labels(tier), stats.hits_total)
        grow(self._hits.labels(HOST), stats.host_hits_total)
        grow(self._misses, stats.misses_total - stats.host_hits_total)
        for seconds in stats.load_seconds:
            self._load_seconds.observe(seconds)

    def gauges(self, info: EngineInfo | None, stats: AdapterStats) -> Iterator[GaugeMetricFamily]:
        """As they are now."""
        tier = _tier(info)
        on_host = sum(entry.tier == "host" for entry in stats.entries)
        yield _tiered("loraplex_adapters", "Adapters in a tier.", {tier: len(stats.resident), HOST: on_host})
        sizes = {tier: stats.resident_bytes, HOST: stats.host_bytes}
        yield _tiered("loraplex_adapter_bytes", "Memory of the adapters there.", sizes)
        if info is not None:
            limits = {tier: info.adapter_memory_bytes, HOST: info.adapter_host_memory_bytes}
            yield _tiered("loraplex_adapter_memory_limit_bytes", "Memory that adapters may take there.", limits)
        pinned = GaugeMetricFamily("loraplex_adapters_pinned", "Adapters that never leave.")
        pinned.add_metric((), sum(entry.pinned for entry in stats.entries))
        yield pinned
        waiting = GaugeMetricFamily("loraplex_adapters_waiting", "Adapters that requests wait for.")
        waiting.add_metric((), len(set(stats.waiting) - set(stats.resident)))
        yield waiting
        yield _lora_requests(info, stats)


def _tier(info: EngineInfo | None) -> str:
    return "gpu" if info is not None and info.device.startswith("cuda") else "cpu"


def _tiered(name: str, text: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=("tier",))
    for tier, value in values.items():
        family.add_metric((tier,), value)
    return family


def _lora_requests(info: EngineInfo | None, adapters: AdapterStats) -> GaugeMetricFamily:
    """The one live series by which routers find a server that has an adapter where it is used: not in the host tier.

    Its value is the time, since a router takes the largest as the latest.
    """
    labels = ("max_lora", "running_lora_adapters", "waiting_lora_adapters")
    family = GaugeMetricFamily("vllm:lora_requests_info", "Adapters in memory, or waited for.", labels=labels)
    resident = set(adapters.resident)
    waiting = set(adapters.waiting) - resident
    values = (str(_max_lora(info, adapters)), _comma_list(resident), _comma_list(waiting))
    family.add_metric(values, time.time())
    return family


def _max_lora(info: EngineInfo | None, adapters: AdapterStats) -> int:
    """How many adapters like the present ones fit: there are no slots to count."""
    if info is None:
        return 0
    count = len(adapters.resident)
    if not count or not adapters.resident_bytes:
        return max(info.max_num_seqs, count)
    return max(count, info.adapter_memory_bytes * count // adapters.resident_bytes)


def _comma_list(names: set[str]) -> str:
    """Names in order. One that holds a comma itself is left out: routers would read it as two other adapters."""
    return ",".join(sorted(name for name in names if "," not in name))
