"""The rules as a file: what Prometheus and Alertmanager want of them, and what whoever is woken wants."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml
from support.installed import program
from support.servers import ROOT

from loraplex_server.metrics import buckets
from loraplex_server.settings import ServeSettings

FOLDER = ROOT / "deploy" / "prometheus"
TEXT = (FOLDER / "rules.yaml").read_text(encoding="utf-8")
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("\n## Runbook\n")[2]
RULES: list[dict[str, Any]] = [rule for group in yaml.safe_load(TEXT)["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
EVERY = pytest.mark.parametrize("name", ALERTS)


def test_promtool_finds_no_fault() -> None:
    done = subprocess.run(
        [program("promtool"), "check", "rules", FOLDER / "rules.yaml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"SUCCESS: {len(RULES)} rules found" in done.stdout


@EVERY
def test_an_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert name.startswith("Loraplex")
    assert "for" in alert
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["runbook_url"] == f"docs/operations.md#{name.lower()}"
    assert notes["description"].endswith(".")
    assert re.search(r"\d|\b(two|five|ten|hour|hours)\b", notes["description"]), "which figures?"


@pytest.mark.parametrize(
    ("histogram", "bounds"),
    [
        ("vllm:time_to_first_token_seconds", buckets.TTFT),
        ("vllm:inter_token_latency_seconds", buckets.INTER_TOKEN),
    ],
)
def test_a_promise_is_a_bound_of_its_histogram_and_stands_once(histogram: str, bounds: tuple[float, ...]) -> None:
    (bound,) = re.findall(rf'{histogram}_bucket{{le="([^"]+)"}}', TEXT)
    assert bound in [str(float(each)) for each in bounds]
    assert TEXT.count("vector(0.99)") == 2


@pytest.mark.slow
def test_alerts_fire_and_are_silent_where_promtool_expects_it() -> None:
    command = [program("promtool"), "test", "rules", "rules.test.yaml"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@EVERY
def test_an_alert_has_a_case_where_it_fires_and_one_where_it_nearly_does(name: str) -> None:
    tests = yaml.safe_load((FOLDER / "rules.test.yaml").read_text(encoding="utf-8"))["tests"]
    checks = [(test, check) for test in tests for check in test["alert_rule_test"] if check["alertname"] == name]
    assert {bool(check["exp_alerts"]) for _, check in checks} == {True, False}
    for test, check in checks:
        assert test["name"].startswith(f"{name} {'fires' if check['exp_alerts'] else 'is silent: '}")
        assert test["input_series"]
    for alert in (each for _, check in checks for each in check["exp_alerts"]):
        assert set(alert["exp_annotations"]) == set(ALERTS[name]["annotations"])


def test_every_alert_has_its_section_in_the_runbook_and_every_section_an_alert() -> None:
    assert re.findall(r"^### (.+)$", RUNBOOK, re.MULTILINE) == list(ALERTS)
    for section in RUNBOOK.split("\n### ")[1:]:
        name, _, text = section.partition("\n")
        for part in ("**Means.**", "**See.**", "**Do.**", "**Harmless.**"):
            assert text.count(part) == 1, (name, part)


def test_the_runbook_names_no_option_that_is_not_there() -> None:
    ours = {f"--{name.replace('_', '-')}" for name in ServeSettings.model_fields}
    kubectl_and_others = {"--previous", "--pid", "--model"}
    assert set(re.findall(r"(?<!\w)--[a-z][a-z-]+", RUNBOOK)) - kubectl_and_others <= ours
