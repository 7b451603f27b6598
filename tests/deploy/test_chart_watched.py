"""How a release is watched: its monitor finds each server once, and its rules and dashboard are the project's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from support.charts import VALUES, Object, all_of, labels_of, render, rendered, the
from support.installed import program
from support.servers import ROOT

EVERY = pytest.mark.parametrize("name", VALUES)
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"


def chosen(selector: dict[str, str], items: list[Object]) -> list[str]:
    return [item["metadata"]["name"] for item in items if selector.items() <= labels_of(item).items()]


@EVERY
def test_a_service_monitor_finds_each_server_once(name: str) -> None:
    for monitor in all_of("ServiceMonitor", rendered(name)):
        assert chosen(monitor["spec"]["selector"]["matchLabels"], all_of("Service", rendered(name))) == [
            "prod-loraplex"
        ]


def test_the_rules_of_the_release_are_the_rules_of_the_project() -> None:
    rule = the("PrometheusRule", rendered("gpu-many-tenants"))
    assert rule["spec"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))
    dashboard = (ROOT / "deploy/grafana/dashboards/loraplex.json").read_text(encoding="utf-8")
    maps = {item["metadata"]["name"]: item for item in all_of("ConfigMap", rendered("gpu-single"))}
    found = maps["prod-loraplex-dashboard"]
    assert found["data"]["loraplex.json"].strip() == dashboard.strip()
    assert labels_of(found)["grafana_dashboard"] == "1"


def test_alerts_can_be_left_out_and_point_elsewhere(tmp_path: Path) -> None:
    values = {
        "demo": True,
        "metrics": {
            "monitor": {"enabled": True},
            "rules": {"enabled": True, "without": ["LoraplexNoServer"], "runbook": "https://runbooks.example.com/llm"},
        },
    }
    rules = [rule for group in the("PrometheusRule", render(values))["spec"]["groups"] for rule in group["rules"]]
    every = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert len(rules) == len(every) - 1
    assert "LoraplexNoServer" not in {rule.get("alert") for rule in rules}
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "rendered", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run([program("promtool"), "check", "rules", path], capture_output=True, text=True)
    assert f"{len(rules)} rules found" in done.stdout, done.stderr
    links = {rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule}
    assert all(link.startswith("https://runbooks.example.com/llm#loraplex") for link in links)


def test_rules_know_the_servers_by_their_job() -> None:
    (pattern,) = set(re.findall(r'job=~"([^"]+)"', RULES.read_text(encoding="utf-8")))
    for values in ({}, {"fullnameOverride": "llm"}, {"nameOverride": "chat"}):
        objects = render({"demo": True, "metrics": {"monitor": {"enabled": True}}, **values})
        (endpoint,) = the("ServiceMonitor", objects)["spec"]["endpoints"]
        (job,) = (each["replacement"] for each in endpoint["relabelings"] if each["targetLabel"] == "job")
        assert re.fullmatch(pattern, job)


def test_a_scraper_has_the_key_that_metrics_ask_for() -> None:
    (endpoint,) = the("ServiceMonitor", rendered("gpu-many-tenants"))["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "loraplex-admin", "key": "admin-key"}
    (endpoint,) = the("PodMonitor", rendered("gpu-single"))["spec"]["podMetricsEndpoints"]
    assert "authorization" not in endpoint
