"""What the engine says of itself: gauges read at the scrape, and totals that outlive the engine's restarts."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from loraplex_server.engine.messages import AdapterStats, EngineInfo, EngineStats
from loraplex_server.metrics import buckets
from loraplex_server.metrics.requests import LABELS


class EngineMetrics(Collector):
    """Absorbs EngineInfo and EngineStats as they come.

    The engine counts its totals from its own start, and it may start again: of each total, only what it grew by is
    added here, so that what Prometheus reads never goes down.
    """

    def __init__(self, registry: CollectorRegistry, model_name: str) -> None:
        self._registry = registry
        self._base = (model_name, "0")
        self._info: EngineInfo | None = None
        self._stats = EngineStats()
        self._absorbed: EngineStats | None = None
        self._last: dict[str, int] = {}
        self._preemptions = self._vllm("num_preemptions", "Sequences put back to make room.")
        self._queries = self._vllm("prefix_cache_queries", "Prompt tokens looked up in the prefix cache.")
        self._hits = self._vllm("prefix_cache_hits", "Prompt tokens found in the prefix cache.")
        self._iteration_tokens = Histogram(
            "vllm:iteration_tokens_total",
            "Tokens computed in a step.",
            LABELS,
            registry=registry,
            buckets=buckets.ITERATION_TOKENS,
        ).labels(*self._base)
        self._loads = self._own("adapter_loads", "Adapters loaded into memory.")
        self._failures = self._own("adapter_load_failures", "Adapters that could not be loaded.")
        self._adapter_hits = self._own("adapter_cache_hits", "Requests that found their adapter in memory.")
        self._adapter_misses = self._own("adapter_cache_misses", "Requests that had to wait for their adapter.")
        self._load_seconds = Histogram(
            "loraplex_adapter_load_seconds", "Time of one load.", registry=registry, buckets=buckets.ADAPTER_LOAD
        )
        self._evictions = Counter(
            "loraplex_adapter_evictions", "Adapters that made room.", ("tier",), registry=registry
        )
        registry.register(self)

    def absorb(self, info: EngineInfo | None, stats: EngineStats) -> None:
        """Take the engine's latest word; the same word again changes nothing."""
        if info is not None and (self._info is None or info.pid != self._info.pid):
            self._info = info
            self._last = {}
        if stats is self._absorbed:
            return
        self._absorbed = self._stats = stats
        adapters = stats.adapters
        self._grow(self._preemptions, "preemptions", stats.preemptions_total)
        self._grow(self._queries, "queries", stats.prefix_queries_total)
        self._grow(self._hits, "hits", stats.prefix_hits_total)
        self._grow(self._loads, "loads", adapters.loads_total)
        self._grow(self._failures, "failures", adapters.load_failures_total)
        self._grow(self._adapter_hits, "adapter_hits", adapters.hits_total)
        self._grow(self._adapter_misses, "adapter_misses", adapters.misses_total)
        self._grow(self._evictions.labels(self._tier), "evictions", adapters.evictions_total)
        for tokens in stats.step_tokens:
            self._iteration_tokens.observe(tokens)
        for seconds in adapters.load_seconds:
            self._load_seconds.observe(seconds)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Gauges as they are now; nothing of the engine's before it was ready."""
        stats = self._stats
        yield self._gauge("num_requests_running", "Answers being computed.", stats.running)
        yield self._gauge("num_requests_waiting", "Answers that wait.", stats.waiting)
        used = stats.kv_used_blocks / stats.kv_total_blocks if stats.kv_total_blocks else 0.0
        yield self._gauge("kv_cache_usage_perc", "Used part of the KV cache, 0 to 1.", used)
        yield self._lora_requests(stats.adapters)
        yield self._tiered("loraplex_adapters", "Adapters in memory.", len(stats.adapters.resident))
        yield self._tiered("loraplex_adapter_bytes", "Memory of the adapters there.", stats.adapters.resident_bytes)
        if self._info is not None:
            yield self._cache_config(self._info)

    @property
    def _tier(self) -> str:
        return "gpu" if self._info is not None and self._info.device.startswith("cuda") else "cpu"

    def _grow(self, counter: Counter, name: str, total: int) -> None:
        last = self._last.get(name, 0)
        counter.inc(total - last if total >= last else total)
        self._last[name] = total

    def _lora_requests(self, adapters: AdapterStats) -> GaugeMetricFamily:
        """The one live series by which routers find a server that has an adapter in memory.

        Its value is the time, since a router takes the largest as the latest.
        """
        labels = ("max_lora", "running_lora_adapters", "waiting_lora_adapters")
        family = GaugeMetricFamily("vllm:lora_requests_info", "Adapters in memory, or waited for.", labels=labels)
        resident = set(adapters.resident)
        waiting = set(adapters.waiting) - resident
        values = (str(self._max_lora(adapters)), _comma_list(resident), _comma_list(waiting))
        family.add_metric(values, time.time())
        return family

    def _max_lora(self, adapters: AdapterStats) -> int:
        """How many adapters like the present ones fit: there are no slots to count."""
        if self._info is None:
            return 0
        count = len(adapters.resident)
        if not count or not adapters.resident_bytes:
            return max(self._info.max_num_seqs, count)
        return max(count, self._info.adapter_memory_bytes * count // adapters.resident_bytes)

    def _cache_config(self, info: EngineInfo) -> GaugeMetricFamily:
        labels = (*LABELS, "block_size", "num_gpu_blocks")
        family = GaugeMetricFamily("vllm:cache_config_info", "The KV cache's shape.", labels=labels)
        family.add_metric((*self._base, str(info.block_size), str(info.num_blocks)), 1)
        return family

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"vllm:{name}", text, labels=LABELS)
        family.add_metric(self._base, value)
        return family

    def _tiered(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=("tier",))
        family.add_metric((self._tier,), value)
        return family

    def _vllm(self, name: str, text: str) -> Counter:
        return Counter(f"vllm:{name}", text, LABELS, registry=self._registry).labels(*self._base)

    def _own(self, name: str, text: str) -> Counter:
        return Counter(f"loraplex_{name}", text, registry=self._registry)


def _comma_list(names: set[str]) -> str:
    """Names in order. One that holds a comma itself is left out: routers would read it as two other adapters."""
    return ",".join(sorted(name for name in names if "," not in name))
