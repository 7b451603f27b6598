"""Metrics by themselves: totals that never go down, gauges, buckets, labels."""

from __future__ import annotations

import os
import subprocess
import time
from types import SimpleNamespace

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.fake_engine import INFO, FakeEngine

from loraplex_adapters.report import AdapterEntry, Tier
from loraplex_server import __version__
from loraplex_server.api.handlers import REJECTIONS
from loraplex_server.engine.messages import AdapterStats, DraftStats, EngineInfo, EngineStats, ReplayStats, Steps
from loraplex_server.metrics import Metrics
from loraplex_server.metrics.adapter_names import AdapterNames
from loraplex_server.metrics.buckets import token_counts
from loraplex_server.metrics.requests import FAILURES

APART = ("tier", "source", "position", "reason", "code", "version")


def read(metrics: Metrics, info: EngineInfo | None, stats: EngineStats) -> dict[str, float]:
    """Values by name, and by name and what sets series apart where there is one."""
    metrics._written_at = float("-inf")
    values = {}
    for family in text_string_to_metric_families(metrics.render(info, stats).decode()):
        for sample in family.samples:
            tier = next((sample.labels[label] for label in APART if label in sample.labels), None)
            values[sample.name + (f"[{tier}]" if tier else "")] = sample.value
    return values


def totals(number: int) -> EngineStats:
    adapters = AdapterStats(
        loads_total=number,
        load_failures_total=number,
        host_loads_total=number,
        evictions_total=number,
        host_evictions_total=number,
        hits_total=number,
        host_hits_total=number,
        misses_total=2 * number,
        load_seconds=[0.5],
    )
    return EngineStats(
        preemptions_total=number,
        pauses_total=number,
        deadlines_total=number,
        prefix_queries_total=number,
        prefix_hits_total=number,
        steps=Steps(tokens=[4, 8], sequences=[1, 3], adapters=[0, 2]),
        replays=ReplayStats(replayed_total=number, run_total={"terms": number}),
        drafts=DraftStats(
            drafts_total=number,
            tokens_total=number,
            accepted_total=number,
            accepted_at_total=(number, 2 * number),
        ),
        adapters=adapters,
    )


def entry(name: str, tier: Tier, pinned: bool = False) -> AdapterEntry:
    return AdapterEntry(name=name, generation="", tier=tier, nbytes=10, in_flight=0, last_used=0.0, pinned=pinned)


TOTALS = [
    "vllm:num_preemptions_total",
    "loraplex_pauses_total",
    "loraplex_deadline_exceeded_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "loraplex_steps_replayed_total",
    "loraplex_steps_not_replayed_total[terms]",
    "vllm:spec_decode_num_drafts_total",
    "vllm:spec_decode_num_draft_tokens_total",
    "vllm:spec_decode_num_accepted_tokens_total",
    "vllm:spec_decode_num_accepted_tokens_per_pos_total[0]",
    "loraplex_adapter_loads_total[disk]",
    "loraplex_adapter_loads_total[host]",
    "loraplex_adapter_load_failures_total",
    "loraplex_adapter_evictions_total[cpu]",
    "loraplex_adapter_evictions_total[host]",
    "loraplex_adapter_cache_hits_total[cpu]",
    "loraplex_adapter_cache_hits_total[host]",
    "loraplex_adapter_cache_misses_total",
]


def test_totals_grow_on_when_the_engine_starts_again() -> None:
    metrics = Metrics("m", 10)
    again = msgspec.structs.replace(INFO, pid=2)
    seen = [
        read(metrics, INFO, totals(3)),
        read(metrics, INFO, totals(10)),
        read(metrics, again, totals(4)),  # a new process counts from zero
        read(metrics, again, totals(5)),
    ]
    for name in TOTALS:
        assert [values[name] for values in seen] == [3, 10, 14, 15], name
    assert [values["loraplex_adapter_load_seconds_count"] for values in seen] == [1, 2, 3, 4]
    assert [values["vllm:iteration_tokens_total_sum"] for values in seen] == [12, 24, 36, 48]
    assert [values["loraplex_batch_sequences_sum"] for values in seen] == [4, 8, 12, 16]
    assert [values["loraplex_batch_adapters_sum"] for values in seen] == [2, 4, 6, 8]
    assert [values["loraplex_batch_adapters_count"] for values in seen] == [2, 4, 6, 8]


def test_the_same_word_counts_once() -> None:
    metrics = Metrics("m", 10)
    stats = totals(3)
    first = read(metrics, INFO, stats)
    assert read(metrics, INFO, stats)["vllm:iteration_tokens_total_count"] == first["vllm:iteration_tokens_total_count"]
    # The engine is new, but what is known of it is still the old one's.
    after = read(metrics, msgspec.structs.replace(INFO, pid=2), stats)
    assert after["loraplex_adapter_loads_total[disk]"] == 3


def test_a_total_that_fell_without_a_new_process_is_never_negative() -> None:
    metrics = Metrics("m", 10)
    read(metrics, INFO, totals(9))
    assert read(metrics, INFO, totals(2))["vllm:num_preemptions_total"] == 11


def test_gauges_are_the_engines_latest_word() -> None:
    stats = EngineStats(
        running=3,
        waiting=4,
        held=1,
        kv_used_blocks=16,
        kv_total_blocks=64,
        adapters=AdapterStats(
            resident=["a", "b"],
            waiting=["b", "d"],
            resident_bytes=100,
            host_bytes=30,
            entries=(
                entry("a", "device", pinned=True),
                entry("b", "device"),
                entry("c", "host"),
                entry("d", "loading"),
            ),
        ),
    )
    values = read(Metrics("m", 10), INFO, stats)
    assert values["vllm:num_requests_running"] == 3
    assert values["vllm:num_requests_waiting"] == 4
    assert values["vllm:num_requests_waiting_by_reason[capacity]"] == 3
    assert values["vllm:num_requests_waiting_by_reason[deferred]"] == 1
    assert values["vllm:kv_cache_usage_perc"] == 0.25
    assert values["loraplex_adapter_memory_limit_bytes[cpu]"] == 1 << 20
    assert values["loraplex_adapter_memory_limit_bytes[host]"] == 0
    assert values["loraplex_adapters_waiting"] == 1
    assert values["loraplex_adapters[cpu]"] == 2
    assert values["loraplex_adapter_bytes[cpu]"] == 100
    assert values["loraplex_adapters[host]"] == 1
    assert values["loraplex_adapter_bytes[host]"] == 30
    assert values["loraplex_adapters_pinned"] == 1
    assert values["vllm:cache_config_info"] == 1


def test_the_tier_is_where_the_engine_computes() -> None:
    values = read(Metrics("m", 10), msgspec.structs.replace(INFO, device="cuda:0"), totals(1))
    assert "loraplex_adapters[gpu]" in values
    assert values["loraplex_adapter_evictions_total[gpu]"] == 1


def test_before_the_engine_is_ready_there_are_zeros_and_no_cache() -> None:
    values = read(Metrics("m", 10), None, EngineStats())
    assert values["vllm:num_requests_waiting"] == 0
    assert values["vllm:prompt_tokens_total"] == 0
    assert "vllm:cache_config_info" not in values


@pytest.mark.parametrize(
    ("resident", "size", "fits"), [([], 0, 8), (["a"], 1 << 20, 1), (["a", "b"], 1 << 17, 16), (["a"], 1 << 30, 1)]
)
def test_how_many_adapters_fit_is_told_from_those_that_are_there(resident: list[str], size: int, fits: int) -> None:
    metrics = Metrics("m", 10)
    stats = EngineStats(adapters=AdapterStats(resident=resident, resident_bytes=size))
    assert f'max_lora="{fits}"' in metrics.render(INFO, stats).decode()


def test_routers_are_not_told_of_what_only_the_host_tier_has() -> None:
    stats = EngineStats(adapters=AdapterStats(resident=["a"], entries=(entry("a", "device"), entry("c", "host"))))
    assert 'running_lora_adapters="a"' in Metrics("m", 10).render(INFO, stats).decode()


def test_a_name_with_a_comma_cannot_pass_for_two() -> None:
    stats = EngineStats(adapters=AdapterStats(resident=["a,b", "c"]))
    assert 'running_lora_adapters="c"' in Metrics("m", 10).render(INFO, stats).decode()


def test_names_are_labels_up_to_the_limit() -> None:
    names = AdapterNames(2)
    assert [names.labels((name,)) for name in ("a", "b", "c", "a")] == [("a",), ("b",), ("other",), ("a",)]
    assert names.labels(("c", "d", "a")) == ("other", "a")
    assert names.labels(()) == ("base",)
    assert AdapterNames(0).labels(("a",)) == ("other",)


WHOSE_AND_WHAT = ("model_name", "adapter", "tenant", "outcome", "reason")


def failures(metrics: Metrics) -> dict[str, float]:
    """What alerts count, by name, whose it is and what happened."""
    metrics._written_at = float("-inf")
    return {
        " ".join(
            (sample.name, *(sample.labels[label] for label in WHOSE_AND_WHAT if label in sample.labels))
        ): sample.value
        for family in text_string_to_metric_families(metrics.render(None, EngineStats()).decode())
        for sample in family.samples
        if {"outcome", "reason"} & set(sample.labels) and not sample.name.startswith("vllm:num_requests")
    }


def test_what_alerts_count_is_there_before_it_happens() -> None:
    """Prometheus sees no growth in a series that begins with its first value."""
    metrics = Metrics("m", 1, 1)
    requests, tenants = "loraplex_adapter_requests_total", "loraplex_tenant_requests_total"
    start = {
        *(f"vllm:admission_rejections_total m {reason}" for reason in (*REJECTIONS.values(), "draining")),
        *(f"{name} {outcome}" for name in (f"{requests} base", f"{tenants} default") for outcome in FAILURES),
    }
    assert failures(metrics) == dict.fromkeys(start, 0)
    metrics.requests.adapter_request(("a",), "stop", 1, 1)
    metrics.tenants.limited("t", "requests")
    born = {f"{name} {outcome}" for name in (f"{requests} a", f"{tenants} t") for outcome in FAILURES}
    assert failures(metrics) == {**dict.fromkeys(start | born, 0), f"{requests} a stop": 1}
    metrics.tenants.ended("u", "error")
    assert failures(metrics)[f"{tenants} other error"] == 1
    assert f"{tenants} u error" not in failures(metrics)


def test_buckets_of_token_counts_follow_vllm() -> None:
    assert token_counts(100) == (1, 2, 5, 10, 20, 50, 100)
    assert token_counts(4096)[-1] == 2000


def test_two_servers_in_one_process_share_nothing() -> None:
    first, second = Metrics("a", 1), Metrics("b", 1)
    first.requests.reject("x")
    assert b'reason="x"' not in second.render(None, EngineStats())


def test_the_server_tells_of_itself_and_its_engine() -> None:
    metrics = Metrics("m", 1)
    before = read(metrics, None, EngineStats())
    assert before[f"loraplex_build_info[{__version__}]"] == 1
    assert before["process_resident_memory_bytes"] > 1 << 20
    assert before["process_cpu_seconds_total"] > 0
    assert "loraplex_engine_up" not in before
    engine, door = FakeEngine(lambda request, index: []), SimpleNamespace(leaving=False, in_flight=3)
    engine.info = msgspec.structs.replace(INFO, pid=os.getpid())
    metrics.server.watch(engine, door)
    values = read(metrics, INFO, EngineStats())
    assert values["loraplex_engine_up"] == 1
    assert values["loraplex_engine_restarts_total"] == 0
    assert values["loraplex_http_requests_in_flight"] == 3
    assert values["loraplex_draining"] == 0
    assert values["loraplex_engine_process_resident_memory_bytes"] > 1 << 20
    engine.healthy, engine.restarts, door.leaving = False, 2, True
    values = read(metrics, INFO, EngineStats())
    assert values["loraplex_engine_up"] == 0
    assert values["loraplex_engine_restarts_total"] == 2
    assert values["loraplex_draining"] == 1


def test_an_engine_process_that_is_gone_has_no_figures() -> None:
    metrics = Metrics("m", 1)
    gone = subprocess.Popen(["true"])
    gone.wait()
    engine = FakeEngine(lambda request, index: [], info=msgspec.structs.replace(INFO, pid=gone.pid))
    metrics.server.watch(engine, SimpleNamespace(leaving=False, in_flight=0))
    assert not [name for name in read(metrics, INFO, EngineStats()) if name.startswith("loraplex_engine_process")]


def test_the_last_token_is_never_older_than_the_server() -> None:
    before = time.time()
    assert before <= read(Metrics("m", 1), None, EngineStats())["loraplex_last_token_timestamp_seconds"] <= time.time()
