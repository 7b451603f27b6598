"""What the engine says of itself: gauges read at the scrape, and totals that outlive the engine's restarts."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from loraplex_server.engine.messages import EngineInfo, EngineStats
from loraplex_server.metrics import buckets
from loraplex_server.metrics.adapters import AdapterMetrics
from loraplex_server.metrics.drafts import DraftMetrics
from loraplex_server.metrics.grammars import GrammarMetrics
from loraplex_server.metrics.replays import ReplayMetrics
from loraplex_server.metrics.requests import LABELS
from loraplex_server.metrics.series import Counter, Page
from loraplex_server.metrics.totals import Totals


class EngineMetrics(Collector):
    """Absorbs EngineInfo and EngineStats as they come."""

    def __init__(self, page: Page, model_name: str) -> None:
        self._page = page
        self._base = (model_name, "0")
        self._info: EngineInfo | None = None
        self._stats = EngineStats()
        self._absorbed: EngineStats | None = None
        self._totals = Totals()
        self._preemptions = self._vllm("num_preemptions", "Sequences put back to make room.")
        self._pauses = page.counter(
            "loraplex_pauses", "Answers that gave their seat to another tenant's, or a more urgent one."
        ).labels()
        self._deadlines = page.counter(
            "loraplex_deadline_exceeded", "Prompts whose time was over, or too short to begin."
        ).labels()
        self._queries = self._vllm("prefix_cache_queries", "Prompt tokens looked up in the prefix cache.")
        self._hits = self._vllm("prefix_cache_hits", "Prompt tokens found in the prefix cache.")
        self._iteration_tokens = page.histogram(
            "vllm:iteration_tokens_total", "Tokens computed in a step.", buckets.ITERATION_TOKENS, LABELS
        ).labels(*self._base)
        self._batch_sequences = page.histogram(
            "loraplex_batch_sequences", "Sequences in a step.", buckets.SEQUENCES
        ).labels()
        self._batch_adapters = page.histogram(
            "loraplex_batch_adapters", "Different adapters in a step.", buckets.ADAPTERS
        ).labels()
        self._replays = ReplayMetrics(page, self._totals)
        self._drafts = DraftMetrics(page, self._totals, self._base)
        self._grammars = GrammarMetrics(page, self._totals)
        self._adapters = AdapterMetrics(page, self._totals)
        page.collect(self)

    def absorb(self, info: EngineInfo | None, stats: EngineStats) -> None:
        """Take the engine's latest word; the same word again changes nothing."""
        if info is not None and (self._info is None or info.pid != self._info.pid):
            self._info = info
            self._totals.restart()
        if stats is self._absorbed:
            return
        self._absorbed = self._stats = stats
        self._totals.grow(self._preemptions, stats.preemptions_total)
        self._totals.grow(self._pauses, stats.pauses_total)
        self._totals.grow(self._deadlines, stats.deadlines_total)
        self._totals.grow(self._queries, stats.prefix_queries_total)
        self._totals.grow(self._hits, stats.prefix_hits_total)
        self._replays.absorb(stats.replays)
        self._drafts.absorb(stats.drafts)
        self._grammars.absorb(stats.grammars)
        for histogram, numbers in (
            (self._iteration_tokens, stats.steps.tokens),
            (self._batch_sequences, stats.steps.sequences),
            (self._batch_adapters, stats.steps.adapters),
        ):
            for number in numbers:
                histogram.observe(number)
        self._adapters.absorb(self._info, stats.adapters)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Gauges as they are now; nothing of the engine's before it was ready."""
        stats = self._stats
        yield self._gauge("num_requests_running", "Answers being computed.", stats.running)
        yield self._gauge("num_requests_waiting", "Answers that wait.", stats.waiting)
        yield self._waiting_by_reason(stats)
        yield self._gauge("kv_cache_usage_perc", "Used part of the KV cache, 0 to 1.", stats.kv_usage)
        yield from self._adapters.gauges(self._info, stats.adapters)
        if self._info is not None:
            yield self._cache_config(self._info)

    def _waiting_by_reason(self, stats: EngineStats) -> GaugeMetricFamily:
        """vLLM's two reasons: there is no room, or the answer lacks something of its own."""
        name, text = "vllm:num_requests_waiting_by_reason", "Answers that wait, by what for."
        family = GaugeMetricFamily(name, text, labels=(*LABELS, "reason"))
        family.add_metric((*self._base, "capacity"), stats.waiting - stats.held)
        family.add_metric((*self._base, "deferred"), stats.held)
        return family

    def _cache_config(self, info: EngineInfo) -> GaugeMetricFamily:
        labels = (*LABELS, "block_size", "num_gpu_blocks")
        family = GaugeMetricFamily("vllm:cache_config_info", "The KV cache's shape.", labels=labels)
        family.add_metric((*self._base, str(info.block_size), str(info.num_blocks)), 1)
        return family

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"vllm:{name}", text, labels=LABELS)
        family.add_metric(self._base, value)
        return family

    def _vllm(self, name: str, text: str) -> Counter:
        return self._page.counter(f"vllm:{name}", text, LABELS).labels(*self._base)
