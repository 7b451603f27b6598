"""The times of one request, observed as they pass."""

from __future__ import annotations

import time
from typing import NamedTuple

from loraplex_server.engine.messages import Started
from loraplex_server.metrics.requests import RequestMetrics


class Phases(NamedTuple):
    """When one prompt and its answers were worked on, by time.perf_counter.

    Args:
        sent: to the engine. started: its word of what it did; None where no answer began.
        first, last: tokens of any of the answers. prompt_tokens: of the prompt.
    """

    sent: float
    started: Started | None
    first: float | None
    last: float | None
    prompt_tokens: int


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
        self._sent = time.perf_counter()
        self.ttft_s: float | None = None
        self._unended = n
        self._longest = 0
        metrics.params_n.observe(n)
        metrics.params_max_tokens.observe(max_tokens)

    @property
    def phases(self) -> Phases:
        """What is known so far."""
        first, last = min(self._first.values(), default=None), max(self._last.values(), default=None)
        return Phases(self._sent, self._started, first, last, self._prompt_tokens)

    def tokens(self, index: int, count: int, started: Started | None) -> None:
        """Tokens of an answer came."""
        now = time.perf_counter()
        metrics = self._metrics
        metrics.generation_tokens.inc(count)
        if count:
            metrics.last_token.set(time.time())
        last = self._last.get(index)
        self._last[index] = now
        if last is None:
            self._first[index] = now
            if self._started is None and started is not None:
                self._begin(now, started)
        elif count:
            metrics.inter_token.observe((now - last) / count, count)  # several came at once where it speculates

    def ended(self, index: int, tokens: int, reason: str) -> None:
        """An answer came to its end."""
        now = time.perf_counter()
        metrics = self._metrics
        metrics.ended[reason].inc()
        self._unended -= 1
        self._longest = max(tokens, self._longest)
        if reason in ("error", "abort"):
            return
        if not self._unended:
            metrics.longest_answer.observe(self._longest)
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
        metrics.cached_tokens.inc(started.cached_tokens)
        metrics.prompt_length.observe(self._prompt_tokens)
