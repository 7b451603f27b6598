"""The comparison as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contest.rows import ROWS
from loraplex_server.bench.load.plot import pyplot

COLORS = {"vllm": "#b8b8b8", "llama-bf16": "#9a9a9a", "llama-q4": "#7c7c7c"}
OURS = ("#9ecae1", "#4a98c9", "#1764ab")
DPI = 80  # sharp enough for a page, and small enough for a repository


def draw(path: Path, content: Mapping[str, Any]) -> None:
    """A panel for each row, a bar for each server.

    Raises:
        PlotError: matplotlib is not installed.
    """
    plt = pyplot()
    servers = content["servers"]
    rows = [name for name in ROWS if any(name in server["rows"] for server in servers.values())]
    across = min(4, len(rows))
    down = -(-len(rows) // across)
    figure, panels = plt.subplots(down, across, figsize=(3.4 * across, 0.6 + 2.1 * down), layout="constrained")
    axes = list(panels.flat) if len(rows) > 1 else [panels]
    ours = iter(OURS)
    colors = {name: COLORS.get(name) or next(ours) for name in servers}
    for name, panel in zip(rows, axes, strict=False):
        _panel(panel, name, servers, colors)
    for panel in axes[len(rows) :]:
        panel.set_visible(False)
    figure.suptitle(f"{content['settings']['shape']}: {content['about']['machine']['cpu']}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _panel(panel: Any, name: str, servers: Mapping[str, Any], colors: Mapping[str, str]) -> None:
    row = ROWS[name]
    shown = {key: server for key, server in servers.items() if name in server["rows"]}
    figures = [server["rows"][name]["figure"] or 0.0 for server in shown.values()]
    bars = panel.barh([server["label"] for server in shown.values()], figures, color=[colors[key] for key in shown])
    panel.bar_label(bars, fmt="%.0f", fontsize=7, padding=2)
    panel.invert_yaxis()
    panel.margins(x=0.15)
    panel.tick_params(labelsize=7)
    panel.set_title(f"{row.title}\n{'ms, less is better' if row.first_token else 'tok/s'}", fontsize=8)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
