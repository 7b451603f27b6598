"""The figures for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

# Heading, and where in a summary its figure is.
COLUMNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("output tok/s", ("output_tok_s",)),
    ("steady tok/s", ("steady_decode_tok_s",)),
    ("TTFT p50", ("times", "ttft_ms", "p50")),
    ("p99 ms", ("times", "ttft_ms", "p99")),
    ("ITL p50", ("times", "itl_ms", "p50")),
    ("p99 ms", ("times", "itl_ms", "p99")),
    ("TPOT p50 ms", ("times", "tpot_ms", "p50")),
    ("E2E p50", ("times", "e2e_ms", "p50")),
    ("p99 ms", ("times", "e2e_ms", "p99")),
)
GOODPUT = ("goodput req/s", ("goodput_req_s",))


def report_console() -> Console:
    """Standard error; wide enough for the table where that is no terminal."""
    console = Console(stderr=True, highlight=False)
    return console if console.is_terminal else Console(stderr=True, highlight=False, width=150)


def print_runs(console: Console, title: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """A line for each labelled summary; goodput only where an objective was set; what went wrong, under it."""
    columns = [*COLUMNS, GOODPUT] if any(row["goodput_req_s"] is not None for _, row in rows) else COLUMNS
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading, _ in columns:
        table.add_column(heading, justify="right")
    table.add_column("ok", justify="right")
    for label, row in rows:
        ok = f"{row['ok']:g}/{row['requests']:g}"
        table.add_row(label, *(figure(row, path) for _, path in columns), ok)
    console.print(table)
    for label, row in rows:
        for warning in warnings(row):
            console.print(f"{label}: {warning}", style="yellow", markup=False)


def figure(summary: Mapping[str, Any], path: Sequence[str]) -> str:
    """One figure to three or four digits; a dash where there is none."""
    value: Any = summary
    for name in path:
        value = None if value is None else value.get(name)
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}"


def warnings(summary: Mapping[str, Any]) -> list[str]:
    """Why these figures may not be what they seem."""
    found = [f"{count:g} x {kind}" for kind, count in summary["errors"].items()]
    if summary.get("error_example"):
        found.append(f"for example: {summary['error_example']}")
    if summary["short_outputs"]:
        found.append(f"{summary['short_outputs']:g} answers had fewer tokens than asked for (ignore_eos not honoured?)")
    if summary["ok"] and summary.get("counted_by") != "usage":
        found.append("the server sent no usage: tokens are counted as events, which misses those without text")
    if (summary["events_per_token"] or 1) < 0.9:
        share = f"{summary['events_per_token']:.0%}"
        found.append(f"only {share} as many events as tokens: TTFT and ITL are those of events (tokens without text?)")
    if (summary["late_p99_ms"] or 0) > 20:
        found.append(f"the client sent requests up to {summary['late_p99_ms']:.0f} ms late: it is the bottleneck")
    return found
