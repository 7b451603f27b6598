"""Totals that outlive the engine's restarts."""

from __future__ import annotations

from loraplex_server.metrics.series import Counter


class Totals:
    """The engine counts from its own start, and it may start again: of each total, only what it grew by is added.

    So what Prometheus reads never goes down.
    """

    def __init__(self) -> None:
        self._last: dict[Counter, float] = {}

    def restart(self) -> None:
        """A new engine counts from zero."""
        self._last.clear()

    def grow(self, counter: Counter, total: float) -> None:
        """Take the engine's latest total."""
        last = self._last.get(counter, 0)
        counter.inc(total - last if total >= last else total)
        self._last[counter] = total
