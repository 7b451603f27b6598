"""Answers that follow a grammar."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from loraplex_server.engine.messages import GrammarStats
from loraplex_server.metrics.totals import Totals


class GrammarMetrics:
    """Args: registry: of the server. totals: that outlive the engine's restarts."""

    def __init__(self, registry: CollectorRegistry, totals: Totals) -> None:
        self._totals = totals
        self._requests = Counter("loraplex_grammar_requests", "Requests that name a grammar.", registry=registry)
        self._compiled = Counter("loraplex_grammars_compiled", "Grammars that were compiled.", registry=registry)
        self._waited = Counter(
            "loraplex_grammar_mask_wait_seconds", "Time that steps stood still for masks.", registry=registry
        )

    def absorb(self, stats: GrammarStats) -> None:
        """Take the engine's latest word."""
        self._totals.grow(self._requests, stats.requests_total)
        self._totals.grow(self._compiled, stats.compiled_total)
        self._totals.grow(self._waited, stats.waited_seconds_total)
