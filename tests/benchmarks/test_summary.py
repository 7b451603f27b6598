from __future__ import annotations

from typing import Any

import pytest

from loraplex_server.bench.load.medians import medians, spread
from loraplex_server.bench.load.options import LoadOptions, Slo
from loraplex_server.bench.load.percentiles import latency
from loraplex_server.bench.load.plot import rate_over_time
from loraplex_server.bench.load.summary import summarize
from loraplex_server.bench.load.trace import Trace
from loraplex_server.bench.load.workload import Planned


def trace(start: float, first: float, gap: float, tokens: int, adapter: int | None = None, **more: Any) -> Trace:
    times = [first + gap * number for number in range(tokens)]
    planned = Planned("m", adapter, [], tokens, None, b"")
    return Trace(
        planned, start, start, times, [1.0] * tokens, times[-1], prompt_tokens=10, output_tokens=tokens, **more
    )


def options(**more: Any) -> LoadOptions:
    return LoadOptions(**{"requests": 2, "concurrency": 2, **more})


def test_percentiles_interpolate() -> None:
    found = latency([0.001 * number for number in range(1, 102)])
    assert found is not None
    assert (found.mean, found.p50, found.p90, found.p99) == (51.0, 51.0, 91.0, 100.0)
    assert latency([]) is None


def test_throughput_counts_all_output_over_the_whole_run() -> None:
    summary = summarize([trace(0.0, 1.0, 0.5, 11), trace(0.0, 2.0, 0.5, 13)], options())
    assert summary.duration_s == 8.0
    assert summary.output_tok_s == 24 / 8
    assert summary.total_tok_s == (24 + 20) / 8
    assert summary.steady_decode_tok_s == pytest.approx(4.0)
    assert summary.steady_s == 4.0
    assert summary.times.ttft_ms is not None
    assert summary.times.ttft_ms.p50 == 1500
    assert summary.events_per_token == 1.0


def test_goodput_counts_only_requests_that_keep_both_bounds() -> None:
    runs = [trace(0.0, 1.0, 0.5, 5), trace(0.0, 3.0, 0.1, 5), trace(0.0, 1.0, 0.1, 5)]
    summary = summarize(runs, options(requests=3, slo=Slo(ttft_ms=1500, itl_ms=200)))
    assert summary.slo_share == pytest.approx(1 / 3, abs=1e-4)
    assert summary.goodput_req_s == pytest.approx(1 / 3.4, abs=1e-3)
    assert summarize(runs, options(requests=3)).goodput_req_s is None


def test_failures_are_counted_by_kind_and_lend_no_tokens() -> None:
    failed = trace(0.0, 1.0, 0.5, 50, error="http 404", detail="no model x")
    summary = summarize([trace(0.0, 1.0, 0.5, 5), failed, failed], options(requests=3))
    assert (summary.ok, summary.errors, summary.error_example) == (1, {"http 404": 2}, "no model x")
    assert summary.output_tokens == 5


def test_a_run_without_any_answer_has_no_figures_and_no_exception() -> None:
    summary = summarize([trace(0.0, 1.0, 0.5, 5, error="timeout")], options())
    assert (summary.ok, summary.output_tok_s, summary.steady_decode_tok_s) == (0, 0.0, None)
    assert summary.times.itl_ms is None


def test_answers_shorter_than_asked_are_told() -> None:
    short = trace(0.0, 1.0, 0.5, 5)
    short.planned = Planned("m", None, [], 64, None, b"")
    assert summarize([short], options(requests=1)).short_outputs == 1


def test_base_and_adapter_requests_of_a_mixed_run_are_told_apart() -> None:
    groups = summarize([trace(0.0, 1.0, 0.5, 5), trace(0.0, 2.0, 0.5, 5, adapter=0)], options()).groups
    assert groups["base"].ttft_ms is not None
    assert groups["adapters"].ttft_ms is not None
    assert (groups["base"].ttft_ms.p50, groups["adapters"].ttft_ms.p50) == (1000, 2000)
    assert not summarize([trace(0.0, 1.0, 0.5, 5)], options(requests=1)).groups


def test_medians_reach_into_nested_figures_and_pass_over_missing_ones() -> None:
    runs = [
        {"a": 1, "t": {"p50": 5.0}, "s": None, "by": "usage", "label": "x"},
        {"a": 9, "t": {"p50": 7.0}, "s": 3.0, "by": "usage", "label": "y"},
        {"a": 2, "t": None, "s": 4.0, "by": "usage", "label": "z"},
    ]
    assert medians(runs) == {"a": 2, "t": {"p50": 6.0}, "s": 3.5, "by": "usage"}
    assert medians([{"s": None}]) == {"s": None}


def test_spread_is_relative_to_the_median() -> None:
    assert spread([90, 100, 120]) == 0.3
    assert spread([5]) is None


def test_the_rate_over_time_holds_every_token() -> None:
    middles, rates = rate_over_time([trace(0.0, 0.1, 0.1, 40)], bins=8)
    width = middles[1] - middles[0]
    assert sum(rates) * width == pytest.approx(40)
