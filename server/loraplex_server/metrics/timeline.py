"""The times of one request, observed as they pass."""

from __future__ import annotations

import time

from loraplex_server.engine.messages import Started
from loraplex_server.metrics.requests import RequestMetrics


class Timeline:
    """Times of one prompt and its answers, from the moment its request arrived.

    Args:
        metrics: where the times go.
        arrival: of the request, by time.perf_counter.
        prompt_tokens, n, max_tokens: of the prompt.
    """

    def __init__(self, metrics: RequestMetrics, arrival: float, prompt_tokens: int, n: int, max_tokens: int) -> None:
        self._metrics = metrics
        self._arrival = arrival
        self._prompt_tokens = prompt_tokens
        self._last: dict[int, float] = {}  # by answer, its latest token
        self._first: dict[int, float] = {}
        self._started: Started | None = None
        self.ttft_s: float | None = None
        metrics.params_n.observe(n)
        metrics.params_max_tokens.observe(max_tokens)

    def tokens(self, index: int, count: int, started: Started | None) -> None:
        """Tokens of an answer came."""
        now = time.perf_counter()
        metrics = self._metrics
        metrics.generation_tokens.inc(count)
        last = self._last.get(index)
        self._last[index] = now
        if last is None:
            self._first[index] = now
            if self._started is None and started is not None:
                self._begin(now, started)
        elif count:
            for _ in range(count):  # several came at once where the engine speculates
                metrics.inter_token.observe((now - last) / count)

    def ended(self, index: int, tokens: int, reason: str) -> None:
        """An answer came to its end."""
        now = time.perf_counter()
        metrics = self._metrics
        metrics.ended[reason].inc()
        if reason in ("error", "abort"):
            return
        metrics.e2e.observe(now - self._arrival)
        metrics.answer_length.observe(tokens)
        decode = now - self._first.get(index, now)
        metrics.decode.observe(decode)
        if tokens > 1:
            metrics.time_per_output_token.observe(decode / (tokens - 1))
        if self._started is not None:
            metrics.inference.observe(self._started.prefill_s + decode)

    def _begin(self, now: float, started: Started) -> None:
        self._started = started
        self.ttft_s = now - self._arrival
        metrics = self._metrics
        metrics.time_to_first_token.observe(self.ttft_s)
        metrics.queue.observe(started.queue_s)
        metrics.prefill.observe(started.prefill_s)
        metrics.prompt_tokens.inc(self._prompt_tokens)
        metrics.prompt_length.observe(self._prompt_tokens)
