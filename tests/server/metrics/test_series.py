"""Series that keep their text, against prometheus_client, which writes all of it each time."""

from __future__ import annotations

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from loraplex_server.metrics.series import Page

NAMES = st.sampled_from(["vllm:a", "loraplex_b_seconds", "c_total_d"])
LIMITS = st.lists(st.floats(0, 1e9, allow_nan=False), min_size=1, max_size=6, unique=True).map(sorted)
# What anybody could call a tenant, and what would break a line.
VALUES = st.tuples(*2 * [st.one_of(st.text(max_size=8), st.sampled_from(['"', "\\", "\n", "a\\nb", "ä,}{="]))])
NUMBERS = st.one_of(st.floats(0, 1e20, allow_nan=False), st.integers(0, 10**12), st.sampled_from([0.1, 1e6, 1e7]))
CHANGES = st.lists(st.tuples(VALUES, NUMBERS), max_size=20)


@pytest.fixture(scope="module", autouse=True)
def _without_created() -> None:
    disable_created_metrics()


@given(NAMES, CHANGES)
def test_counters_are_written_as_prometheus_client_would(name: str, changes: list) -> None:
    page, registry = Page(), CollectorRegistry()
    ours = page.counter(name, "What it is.", ("zone", "adapter"))
    theirs = prometheus_client.Counter(name, "What it is.", ("zone", "adapter"), registry=registry)
    assert page.text() == generate_latest(registry)
    for values, number in changes:
        ours.labels(*values).inc(number)
        theirs.labels(*values).inc(number)
        assert page.text() == generate_latest(registry)


@given(NAMES, CHANGES)
def test_gauges_are_written_as_prometheus_client_would(name: str, changes: list) -> None:
    page, registry = Page(), CollectorRegistry()
    ours = page.gauge(name, "What it is.", ("zone", "adapter"))
    theirs = prometheus_client.Gauge(name, "What it is.", ("zone", "adapter"), registry=registry)
    for values, number in changes:
        ours.labels(*values).set(-number)
        theirs.labels(*values).set(-number)
        assert page.text() == generate_latest(registry)


@given(NAMES, LIMITS, CHANGES)
def test_histograms_are_written_as_prometheus_client_would(name: str, limits: list[float], changes: list) -> None:
    page, registry = Page(), CollectorRegistry()
    ours = page.histogram(name, "What it is.", limits, ("zone", "adapter"))
    theirs = prometheus_client.Histogram(name, "What it is.", ("zone", "adapter"), registry=registry, buckets=limits)
    for values, number in [*changes, *((values, limits[0]) for values, _ in changes)]:
        ours.labels(*values).observe(number)
        theirs.labels(*values).observe(number)
        assert page.text() == generate_latest(registry)


def test_a_page_is_its_families_in_order_and_then_what_is_collected() -> None:
    page, registry = Page(), CollectorRegistry()
    page.counter("b", "B.").labels().inc(2)
    page.histogram("a", "A.", (1, 2)).labels().observe(1.5, 3)
    prometheus_client.Counter("b", "B.", registry=registry).inc(2)
    histogram = prometheus_client.Histogram("a", "A.", registry=registry, buckets=(1, 2))
    for _ in range(3):
        histogram.observe(1.5)
    value = 1.0

    class Now(Collector):
        def collect(self) -> list[GaugeMetricFamily]:
            return [GaugeMetricFamily("now", "Now.", value)]

    page.collect(Now())
    registry.register(Now())
    assert page.text() == generate_latest(registry)
    value = 2.0
    assert b"now 2.0" in page.text()


def test_what_did_not_change_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page()
    family = page.counter("a", "A.", ("adapter",))
    quiet, busy = family.labels("quiet"), family.labels("busy")
    page.text()
    before = quiet.lines, busy.lines
    busy.inc()
    page.text()
    assert quiet.lines is before[0]
    assert busy.lines != before[1]


def test_a_counter_never_goes_down() -> None:
    counter = Page().counter("a", "A.").labels()
    with pytest.raises(ValueError, match="only goes up"):
        counter.inc(-1)


@pytest.mark.parametrize("values", [(), ("x",), ("x", "y", "z")])
def test_each_label_has_a_value(values: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="argument"):
        Page().counter("a", "A.", ("zone", "adapter")).labels(*values)
