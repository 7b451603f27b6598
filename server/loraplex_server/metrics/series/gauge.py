"""A number that goes up and down."""

from __future__ import annotations

from loraplex_server.metrics.series.number import Number


class Gauge(Number):
    """Zero until it is set."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Give it another value."""
        self._become(value)
