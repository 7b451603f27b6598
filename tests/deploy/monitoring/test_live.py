"""Dashboard and rules against what a real Prometheus knows of a real server under traffic of all kinds."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import grafana
from support.monitored import BOARD, BOARD_TEXT, RULES, World, watched
from support.servers import ROOT
from support.traffic import CALM, WILD, visiting

RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
QUERIES = [line for block in re.findall(r"```promql\n(.*?)```", RUNBOOK, re.DOTALL) for line in block.splitlines()]
LIMIT_S = 600.0  # only what never comes takes so long
# What shows 0 as long as nothing goes wrong; test_outages.py makes it go wrong.
QUIET = {
    *("Down · down", "Alerts · firing", "Failed · failed", "Engines down · down", "Part refused or failed · 503"),
    *(
        "Part refused or failed · 5xx",
        "Requests inside · draining, {{instance}} {{replica}}",
        "Copies on disk · copies",
    ),
    # Where most steps are of the base alone.
    "Distinct adapters per step · p50",
    *(
        "Restarts · engine, {{instance}} {{replica}}",
        "Restarts · server, {{instance}} {{replica}}",
        "Adapters by tier · pinned",
    ),
}
NAMES = re.compile(r"\b(?:vllm:|loraplex_|process_)[a-z0-9_]+")
# Metrics that no panel shows, and why.
LEFT_OUT = {
    "vllm:cache_config_info": "the shape of the KV cache: routers read it",
    "process_virtual_memory_bytes": "resident memory is what counts",
    "loraplex_engine_process_virtual_memory_bytes": "resident memory is what counts",
    "loraplex_engine_process_start_time_seconds": "loraplex_engine_restarts_total tells of new ones",
    "loraplex_engine_process_open_fds": "it opens none for requests",
    "loraplex_engine_process_max_fds": "it opens none for requests",
    "loraplex_disk_cache_entries": "bytes are what is limited",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with watched(tmp_path_factory.mktemp("monitored")) as both:
        yield both


@pytest.mark.slow
def test_all_is_quiet_while_all_is_well(world: World) -> None:
    prometheus = world.prometheus
    with visiting(world.server.url, CALM, world.secrets):
        prometheus.wait("count_over_time(up[1m]) >= 10")
        prometheus.wait("loraplex:ttft_late:ratio_rate5m >= 0")
        prometheus.wait("loraplex:inter_token_late:ratio_rate5m >= 0")
        rules = prometheus.rules()
        # On a busy machine one scrape may take more than its second; the next ones do not.
        prometheus.wait('absent(ALERTS{alertname="LoraplexTargetDown"})')
    assert len(rules) == RULES.count("- alert:") + RULES.count("- record:")
    assert {(rule["name"], rule["health"], rule.get("lastError")) for rule in rules} == {
        (rule["name"], "ok", None) for rule in rules
    }
    states = {rule["name"]: rule["state"] for rule in rules if rule["type"] == "alerting" and rule["alerts"]}
    assert states in ({}, {"LoraplexTargetDown": "pending"})
    for rule in rules:
        if rule["type"] == "recording":
            assert prometheus.query(rule["name"]), rule["name"]
    assert prometheus.value("loraplex:ttft_late:ratio_rate5m") < 0.5


@pytest.mark.slow
def test_every_panel_shows_something_that_can_be(world: World) -> None:
    """The table that it prints has every query of every panel, and a value that it gave."""
    prometheus, shown = world.prometheus, {}
    deadline = time.monotonic() + LIMIT_S
    with visiting(world.server.url, WILD, world.secrets) as seen:
        prometheus.wait('loraplex_http_responses_total{code="429"}')
        asked = list(grafana.queries(BOARD, grafana.variables(BOARD, prometheus), window="15s", shown="60s"))
        while missing := [query for query in asked if query.key not in shown]:
            assert time.monotonic() < deadline, [(query.name, prometheus.query(query.expr)) for query in missing]
            for query in missing:
                values = [series.value for series in prometheus.query(query.expr)]
                assert possible(values, query), (query.name, query.expr, values)
                if values and not any(map(math.isnan, values)) and (max(values) > 0 or query.name in QUIET):
                    shown[query.key] = f"{max(values):>14.6g} {query.unit:<12} {len(values)} series"
            time.sleep(0.3)
    for query in asked:
        print(f"{query.key[0]:>3}  {query.name:<55} {shown[query.key]}")  # noqa: T201
    statuses = {code: sum(n for (_, status), n in seen.items() if status == code) for code in (400, 404, 408, 429)}
    assert all(statuses.values()), seen
    for code, count in statuses.items():
        prometheus.wait(f'loraplex_http_responses_total{{code="{code}"}} == {count}')


def possible(values: list[float], query: grafana.Query) -> bool:
    """Parts are of a whole, times are not of a week, and nothing is less than nothing."""
    most = {"percentunit": 1.0 + 1e-9, "s": 600.0}.get(query.unit, math.inf)
    return all(math.isnan(value) or 0 <= value <= most for value in values)


def test_quantiles_are_in_order(world: World) -> None:
    for title in ("Time to first token", "Inter-token latency", "End to end"):
        (panel,) = (panel for panel in BOARD["panels"] if panel["title"] == title)
        values = {}
        known = grafana.variables(BOARD, world.prometheus)
        for query in grafana.queries({"panels": [panel]}, known, window="5m", shown="5m"):
            values[query.legend] = world.prometheus.value(query.expr)
        assert values["p50"] <= values["p95"] <= values["p99"], (title, values)


def test_marks_can_be_asked_for(world: World) -> None:
    marks = grafana.marks(BOARD, grafana.variables(BOARD, world.prometheus), window="15s")
    assert {name: world.prometheus.query(expr) for name, expr in marks.items()} == {name: [] for name in marks}


def test_the_runbooks_queries_can_be_asked(world: World) -> None:
    assert len(QUERIES) > 40
    for query in QUERIES:
        world.prometheus.query(query)


def test_what_panels_rules_and_runbook_name_is_there(world: World) -> None:
    told = families(world)
    shown, ruled = set(NAMES.findall(BOARD_TEXT)), set(NAMES.findall(re.sub(r"#.*|docs/\S+", "", RULES)))
    asked = set(NAMES.findall("\n".join(QUERIES)))
    samples = {name for names in told.values() for name in names}
    assert (shown | ruled | asked) - samples == set()
    unseen = {family for family, names in told.items() if not names & shown}
    assert unseen == set(LEFT_OUT)


def families(world: World) -> dict[str, set[str]]:
    """Of all metrics, the names of their samples."""
    key = {"authorization": f"Bearer {world.admin}"}
    text = world.server.get("/metrics", headers=key).text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        found[family.name] = {sample.name for sample in family.samples}
    return found


def test_who_has_no_admins_key_sees_no_metrics(world: World) -> None:
    """So what Prometheus saw, it saw by the key that docs/tenants.md tells it to send."""
    assert world.server.get("/metrics").status_code == 401
    acme = {"authorization": f"Bearer {world.secrets['']}"}
    assert world.server.get("/metrics", headers=acme).status_code == 403
