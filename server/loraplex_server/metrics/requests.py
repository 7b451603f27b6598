"""What the API itself can see of requests: counts, tokens and times."""

from __future__ import annotations

import time
from collections.abc import Sequence

from loraplex_server.metrics import buckets
from loraplex_server.metrics.adapter_names import BASE, AdapterNames
from loraplex_server.metrics.series import Counter, Histogram, Page

LABELS = ("model_name", "engine")
REASONS = ("stop", "length", "abort", "error")
REJECTIONS = ("max_num_queued_reqs", "engine_unavailable", "draining")
# Outcomes that are the server's own fault. A series that begins with its first value has not grown to it: alerts would
# not see a first burst.
FAILURES = ("error", "unavailable")
LONGEST = 1_000_000


class RequestMetrics:
    """Histograms and counters of requests. All series that have no adapter in them exist from the start, at zero, and
    failures of the base too; an adapter's, from the first request for it."""

    def __init__(self, page: Page, model_name: str, adapters: AdapterNames) -> None:
        self._page = page
        self._base = (model_name, "0")
        self.adapters = adapters
        latency = buckets.LATENCY
        self.time_to_first_token = self._histogram(
            "time_to_first_token_seconds", "Arrival to first token.", buckets.TTFT
        )
        self.inter_token = self._histogram(
            "inter_token_latency_seconds", "Between tokens of an answer.", buckets.INTER_TOKEN
        )
        self.time_per_output_token = self._histogram(
            "request_time_per_output_token_seconds", "Mean of an answer, first token apart.", buckets.INTER_TOKEN
        )
        self.e2e = self._histogram("e2e_request_latency_seconds", "Arrival to last token.", latency)
        self.queue = self._histogram("request_queue_time_seconds", "Arrival to first scheduled.", latency)
        self.prefill = self._histogram("request_prefill_time_seconds", "First scheduled to first token.", latency)
        self.decode = self._histogram("request_decode_time_seconds", "First token to last.", latency)
        self.inference = self._histogram("request_inference_time_seconds", "First scheduled to last token.", latency)
        counts: Sequence[float] = buckets.token_counts(LONGEST)
        self.prompt_length = self._histogram("request_prompt_tokens", "Tokens of a prompt.", counts)
        self.answer_length = self._histogram("request_generation_tokens", "Tokens of an answer.", counts)
        self.longest_answer = self._histogram(
            "request_max_num_generation_tokens", "Tokens of a prompt's longest answer.", counts
        )
        self.params_n = self._histogram("request_params_n", "Answers asked for.", buckets.CHOICES)
        self.params_max_tokens = self._histogram("request_params_max_tokens", "max_tokens of a request.", counts)
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens computed or found in the cache.")
        self.cached_tokens = self._counter("prompt_tokens_cached", "Of these, those found in the cache.")
        self.generation_tokens = self._counter("generation_tokens", "Tokens generated.")
        self.last_token = page.gauge(
            "loraplex_last_token_timestamp_seconds",
            "When an answer last grew; until one did, when the server started.",
        ).labels()
        self.last_token.set(time.time())
        success = page.counter("vllm:request_success", "Answers that ended.", (*LABELS, "finished_reason"))
        self.ended = {reason: success.labels(*self._base, reason) for reason in REASONS}
        self._rejections = page.counter(
            "vllm:admission_rejections", "Requests refused unheard.", ("model_name", "reason")
        )
        for reason in REJECTIONS:
            self._rejections.labels(model_name, reason)
        self._adapter_requests = page.counter(
            "loraplex_adapter_requests", "Requests that ended.", ("adapter", "outcome")
        )
        self._adapter_tokens = page.counter("loraplex_adapter_tokens", "Tokens of requests.", ("adapter", "kind"))
        self._has_failures(BASE)

    def reject(self, reason: str) -> None:
        """Count a request that was refused before it reached the engine."""
        self._rejections.labels(self._base[0], reason).inc()

    def adapter_request(self, names: tuple[str, ...], outcome: str, prompt_tokens: int, output_tokens: int) -> None:
        """Count a request that ended, for each of its adapters."""
        for label in self.adapters.labels(names):
            self._has_failures(label)
            self._adapter_requests.labels(label, outcome).inc()
            self._adapter_tokens.labels(label, "prompt").inc(prompt_tokens)
            self._adapter_tokens.labels(label, "generation").inc(output_tokens)

    def _has_failures(self, label: str) -> None:
        """Zero until there are any."""
        for outcome in FAILURES:
            self._adapter_requests.labels(label, outcome)

    def _histogram(self, name: str, text: str, limits: Sequence[float]) -> Histogram:
        return self._page.histogram(f"vllm:{name}", text, limits, LABELS).labels(*self._base)

    def _counter(self, name: str, text: str) -> Counter:
        return self._page.counter(f"vllm:{name}", text, LABELS).labels(*self._base)
