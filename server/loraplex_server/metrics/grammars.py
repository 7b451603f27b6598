"""Answers that follow a grammar."""

from __future__ import annotations

from loraplex_server.engine.messages import GrammarStats
from loraplex_server.metrics.series import Page
from loraplex_server.metrics.totals import Totals


class GrammarMetrics:
    """Args: page: of the server. totals: that outlive the engine's restarts."""

    def __init__(self, page: Page, totals: Totals) -> None:
        self._totals = totals
        self._requests = page.counter("loraplex_grammar_requests", "Requests that name a grammar.").labels()
        self._compiled = page.counter("loraplex_grammars_compiled", "Grammars that were compiled.").labels()
        self._waited = page.counter(
            "loraplex_grammar_mask_wait_seconds", "Time that steps stood still for masks."
        ).labels()

    def absorb(self, stats: GrammarStats) -> None:
        """Take the engine's latest word."""
        self._totals.grow(self._requests, stats.requests_total)
        self._totals.grow(self._compiled, stats.compiled_total)
        self._totals.grow(self._waited, stats.waited_seconds_total)
