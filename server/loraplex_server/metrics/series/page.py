"""Everything that a server tells, as one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from loraplex_server.metrics.series.counter import Counter
from loraplex_server.metrics.series.family import Family
from loraplex_server.metrics.series.gauge import Gauge
from loraplex_server.metrics.series.histogram import Histogram
from loraplex_server.metrics.series.series import Series

S = TypeVar("S", bound=Series)


class Page:
    """The text is what prometheus_client would write. Its way costs 6 us a line, changed or not: with 100 adapters and
    tenants 10 ms, in which no stream moves. So what has many lines keeps them here, and only what is read when the text
    is made, some 50 lines, goes through it.
    """

    def __init__(self) -> None:
        self._families: list[Family[Any]] = []
        self._collected = CollectorRegistry()

    def counter(self, name: str, about: str, labels: Sequence[str] = ()) -> Family[Counter]:
        """A family of totals; `_total` is put behind its name."""
        shown = f"{name}_total"
        return self._add(Family(shown, about, "counter", labels, partial(Counter, shown)))

    def gauge(self, name: str, about: str, labels: Sequence[str] = ()) -> Family[Gauge]:
        """A family of gauges that are set."""
        return self._add(Family(name, about, "gauge", labels, partial(Gauge, name)))

    def histogram(
        self, name: str, about: str, limits: Sequence[float], labels: Sequence[str] = ()
    ) -> Family[Histogram]:
        """A family of histograms, all with the same limits."""

        def make(labels: Mapping[str, str]) -> Histogram:
            return Histogram(name, labels, limits)

        return self._add(Family(name, about, "histogram", labels, make))

    def collect(self, collector: Collector) -> None:
        """What this collector gives is read each time that the text is made."""
        self._collected.register(collector)

    def text(self) -> bytes:
        """As it is now."""
        return "".join([family.text() for family in self._families]).encode() + generate_latest(self._collected)

    def _add(self, family: Family[S]) -> Family[S]:
        self._families.append(family)
        return family
