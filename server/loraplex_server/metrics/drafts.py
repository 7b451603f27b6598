"""Drafts of speculative decoding, as vLLM counts them (`vllm/v1/spec_decode/metrics.py`)."""

from __future__ import annotations

from loraplex_server.engine.messages import DraftStats
from loraplex_server.metrics.requests import LABELS
from loraplex_server.metrics.series import Counter, Family, Page
from loraplex_server.metrics.totals import Totals


class DraftMetrics:
    """All zero where the server does not speculate.

    Args:
        page: where they are told.
        totals: that outlive the engine.
        base: values of the labels.
    """

    def __init__(self, page: Page, totals: Totals, base: tuple[str, ...]) -> None:
        self._totals, self._base = totals, base

        def counter(name: str, text: str, *labels: str) -> Family[Counter]:
            return page.counter(f"vllm:spec_decode_{name}", text, (*LABELS, *labels))

        self._drafts = counter("num_drafts", "Drafts that were checked.").labels(*base)
        self._tokens = counter("num_draft_tokens", "Tokens of these drafts.").labels(*base)
        self._accepted = counter("num_accepted_tokens", "Of these tokens, those that were accepted.").labels(*base)
        self._accepted_at = counter(
            "num_accepted_tokens_per_pos", "Drafts whose token at a place was accepted, from place 0 on.", "position"
        )

    def absorb(self, stats: DraftStats) -> None:
        """Take the engine's latest word."""
        self._totals.grow(self._drafts, stats.drafts_total)
        self._totals.grow(self._tokens, stats.tokens_total)
        self._totals.grow(self._accepted, stats.accepted_total)
        for place, accepted in enumerate(stats.accepted_at_total):
            self._totals.grow(self._accepted_at.labels(*self._base, str(place)), accepted)
