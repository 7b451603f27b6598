"""The dashboard as a file: written from the code, and whole as Grafana wants it."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml
from support.servers import ROOT

FILE = ROOT / "deploy" / "grafana" / "dashboards" / "loraplex.json"
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
BOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TITLES = [f"{panel['id']} {panel['title']}" for panel in PANELS]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
GRAFANAS_OWN = {"__rate_interval", "__range", "__all"}


def test_it_is_what_the_code_writes() -> None:
    command = [sys.executable, str(ROOT / "tools" / "dashboard.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_row_and_panel_has_an_id_of_its_own() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert BOARD["uid"] == "loraplex"
    assert "id" not in BOARD, "an id belongs to one Grafana"


def test_the_panel_of_failures_counts_what_the_alert_counts() -> None:
    (panel,) = (panel for panel in PANELS if panel["title"] == "Failed")
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    (alert,) = (rule for group in groups for rule in group["rules"] if rule.get("alert") == "LoraplexErrorRate")
    ((counted, threshold),) = re.findall(r"(outcome[^}]+).*?> ([0-9.]+)$", alert["expr"])
    assert set(re.findall("outcome[^}]+", panel["targets"][0]["expr"])) == {counted}
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1] == {"color": "red", "value": float(threshold)}


def test_what_nobody_asked_for_is_no_broken_promise() -> None:
    parts = {"TTFT ≤ 2.5 s", "Inter-token ≤ 0.1 s", "Hit rate", "Prefix cache"}
    panels = [panel for panel in PANELS if panel["title"] in parts]
    assert len(panels) == len(parts)
    for panel in panels:
        assert panel["fieldConfig"]["defaults"]["noValue"].startswith("no ")
        assert not [target for target in panel["targets"] if " or " in target["expr"]]


def test_panels_fill_their_lines_and_cover_nothing() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not cells & taken, panel["title"]
        taken |= cells
    bottom = max(y for _, y in taken)
    assert taken == set(itertools.product(range(24), range(bottom + 1)))


@pytest.mark.parametrize("panel", PANELS, ids=TITLES)
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == SOURCE
    assert panel["targets"]
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters)
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
        assert target["instant"] != target["range"]


def test_every_query_asks_the_chosen_data_source() -> None:
    (source, *others) = BOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    queries = [variable for variable in others if variable["type"] == "query"]
    assert [variable["name"] for variable in queries] == ["job", "instance", "model_name"]
    for query in (*queries, *BOARD["annotations"]["list"]):
        assert query["datasource"] == SOURCE


def test_no_variable_is_used_that_is_not_there() -> None:
    used = {a or b for a, b in re.findall(r"\$(\w+)|\$\{(\w+)\}", FILE.read_text(encoding="utf-8"))}
    known = {variable["name"] for variable in BOARD["templating"]["list"]}
    assert used == known | GRAFANAS_OWN


@pytest.mark.parametrize("panel", PANELS, ids=TITLES)
def test_ranges_follow_what_is_shown(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert set(re.findall(r"\[([^]]+)\]", target["expr"])) <= {"$__rate_interval", "$__range"}


def test_links_lead_to_pages_that_are_there() -> None:
    for link in BOARD["links"]:
        page, _, heading = link["url"].removeprefix("${docs}/").partition("#")
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert not heading or f"## {heading.capitalize()}\n" in text


@pytest.mark.parametrize("panel", PANELS, ids=TITLES)
def test_series_can_be_told_apart(panel: dict[str, Any]) -> None:
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert len(set(legends)) == len(legends)
    for target in panel["targets"]:
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        kept = {label for labels in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in labels.split(", ")}
        assert not kept or named == kept - {"le"} or panel["type"] == "heatmap", target["expr"]
