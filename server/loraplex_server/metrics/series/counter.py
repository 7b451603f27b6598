"""A total."""

from __future__ import annotations

from loraplex_server.metrics.series.number import Number


class Counter(Number):
    """Starts at zero and never goes down."""

    __slots__ = ()

    def inc(self, amount: float = 1) -> None:
        """Add to it.

        Raises:
            ValueError: it would go down.
        """
        if amount < 0:
            raise ValueError("a counter only goes up")
        self._become(self._value + amount)
