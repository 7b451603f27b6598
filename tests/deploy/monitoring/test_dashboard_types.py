"""The dashboard against Grafana's own types of dashboards and panels."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from support.grafana_types import faults
from support.installed import folder_of
from support.monitored import BOARD


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("types")
    (made / "node_modules").symlink_to(folder_of("grafana-schema") / "node_modules")
    return made


def first(board: dict[str, Any], kind: str) -> dict[str, Any]:
    panel: dict[str, Any] = next(panel for panel in board["panels"] if panel["type"] == kind)
    return panel


def test_grafana_knows_every_field_and_value(folder: Path) -> None:
    assert faults(BOARD, folder) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda board: first(board, "stat")["gridPos"].update(w="3"), "not assignable to type 'number'"),
        (lambda board: first(board, "stat")["options"].update(colorMode="valeu"), "valeu"),
        (
            lambda board: first(board, "timeseries")["fieldConfig"]["defaults"]["custom"].update(x=1),
            "'\"x\"' does not exist",
        ),
        (lambda board: board.update(titel="x"), "titel"),
    ],
    ids=["number", "word", "field", "board"],
)
def test_a_slip_is_found(folder: Path, damage: Any, said: str) -> None:
    board = copy.deepcopy(BOARD)
    damage(board)
    (fault,) = faults(board, folder)
    assert said in fault
