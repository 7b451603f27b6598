"""A dashboard as TypeScript, against the types that Grafana itself has of it."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

RAW = "@grafana/schema/dist/esm/raw"
# Panel's type -> folder and name of its own types.
KINDS = {
    "bargauge": "BarGauge",
    "heatmap": "Heatmap",
    "stat": "Stat",
    "table": "Table",
    "timeseries": "TimeSeries",
}
OWN_FIELDS = {"heatmap", "table", "timeseries"}  # kinds with settings of fields beyond those of all
# What JSON has for an enumeration is its value; any field may be missing, as those with defaults are.
PLAIN = """\
type Plain<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]?: Plain<T[K]> } : T;
"""


def faults(board: dict[str, Any], folder: Path) -> list[str]:
    """What Grafana's types have against it: a field that is not known, a value of the wrong kind.

    Args:
        folder: with node_modules of @grafana/schema and typescript.
    """
    file = folder / "board.ts"
    file.write_text(_program(board), encoding="utf-8")
    options = (
        "--strict",
        "--skipLibCheck",
        "--target",
        "es2022",
        "--module",
        "esnext",
        "--moduleResolution",
        "bundler",
    )
    compiler = folder / "node_modules" / ".bin" / "tsc"
    done = subprocess.run([compiler, "--noEmit", *options, file], cwd=folder, capture_output=True, text=True)
    return done.stdout.splitlines()


def _program(board: dict[str, Any]) -> str:
    known = _without_extras(board)
    lines = [f'import type {{ Dashboard }} from "{RAW}/dashboard/x/dashboard_types.gen.d.ts";']
    for kind, name in KINDS.items():
        lines.append(
            f'import type * as {kind} from "{RAW}/composable/{kind}/panelcfg/x/{name}PanelCfg_types.gen.d.ts";'
        )
    lines += [PLAIN, _constant("board", "Dashboard", known)]
    for panel in known["panels"]:
        kind, number = panel["type"], panel["id"]
        if kind != "row":
            lines.append(_constant(f"options{number}", f"{kind}.Options", panel.get("options", {})))
        if kind in OWN_FIELDS:
            custom = panel["fieldConfig"]["defaults"].get("custom", {})
            lines.append(_constant(f"custom{number}", f"{kind}.FieldConfig", custom))
    return "\n".join(lines)


def _constant(name: str, kind: str, value: object) -> str:
    return f"export const {name}: Plain<{kind}> =\n{json.dumps(value)};"


def _without_extras(board: dict[str, Any]) -> dict[str, Any]:
    """Without what the types leave open: Prometheus' query of a mark, and an interval's fields, on every variable."""
    known = copy.deepcopy(board)
    for mark in known["annotations"]["list"]:
        del mark["expr"]
    for variable in known["templating"]["list"]:
        for name in ("auto", "auto_min", "auto_count"):
            variable.pop(name, None)
    return known
