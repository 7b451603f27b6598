"""Steps that were replayed, from CUDA graphs or tapes, and those that were not."""

from __future__ import annotations

from loraplex_server.engine.messages import ReplayStats
from loraplex_server.metrics.series import Page
from loraplex_server.metrics.totals import Totals


class ReplayMetrics:
    """Args: page: of the server. totals: that outlive the engine's restarts."""

    def __init__(self, page: Page, totals: Totals) -> None:
        self._totals = totals
        self._replayed = page.counter(
            "loraplex_steps_replayed", "Steps that were replayed from CUDA graphs or tapes."
        ).labels()
        self._run = page.counter(
            "loraplex_steps_not_replayed", "Steps that were run instead, which takes longer, by why.", ("reason",)
        )

    def absorb(self, stats: ReplayStats) -> None:
        """Take the engine's latest word."""
        self._totals.grow(self._replayed, stats.replayed_total)
        for reason, steps in stats.run_total.items():
            self._totals.grow(self._run.labels(reason), steps)
