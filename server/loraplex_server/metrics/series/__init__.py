"""Counters, gauges and histograms that keep their text until they change, in Prometheus' text format 0.0.4."""

from loraplex_server.metrics.series.counter import Counter
from loraplex_server.metrics.series.family import Family
from loraplex_server.metrics.series.gauge import Gauge
from loraplex_server.metrics.series.histogram import Histogram
from loraplex_server.metrics.series.page import Page

__all__ = ["Counter", "Family", "Gauge", "Histogram", "Page"]
