"""Modes of load on one server, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from loraplex_server.bench.load.medians import medians, spread
from loraplex_server.bench.load.table import figure, warnings

BASE = "base"
RATES = ("output_tok_s", "steady_decode_tok_s")
LATENCIES = (
    ("TTFT p50", "ttft_ms", "p50"),
    ("p99 ms", "ttft_ms", "p99"),
    ("ITL p50", "itl_ms", "p50"),
    ("p99 ms", "itl_ms", "p99"),
)


def compare(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """For each mode the medians of its runs, their spread, and its rates as a share of the base mode's.

    Args:
        runs: the summaries of each mode's runs, as mappings.
    """
    middle = {mode: medians(summaries) for mode, summaries in runs.items()}
    return {
        mode: {
            "median": middle[mode],
            "spread": {rate: spread([run[rate] for run in runs[mode] if run[rate] is not None]) for rate in RATES},
            "of_base": {rate: _share(middle[mode].get(rate), middle.get(BASE, {}).get(rate)) for rate in RATES},
            "runs": list(runs[mode]),
        }
        for mode in runs
    }


def print_comparison(console: Console, title: str, modes: Mapping[str, Mapping[str, Any]]) -> None:
    """A line for each mode; the share of the bound where one was computed; what went wrong, under it."""
    bounded = any("of_bound" in mode for mode in modes.values())
    table = Table(title=title, title_justify="left")
    headings = ["output tok/s", "of base", "spread", "steady tok/s", "of base", *["of bound"] * bounded]
    table.add_column("")
    for heading in [*headings, *(heading for heading, _, _ in LATENCIES), "others, cores", "ok"]:
        table.add_column(heading, justify="right")
    for name, mode in modes.items():
        middle, output, steady = mode["median"], *RATES
        table.add_row(
            name,
            figure(middle, (output,)),
            _percent(mode["of_base"][output]),
            _percent(mode["spread"][output]),
            figure(middle, (steady,)),
            _percent(mode["of_base"][steady]),
            *[_percent(mode.get("of_bound"))] * bounded,
            *(figure(middle, ("times", time, percentile)) for _, time, percentile in LATENCIES),
            figure(middle, ("usage", "others")),
            f"{middle['ok']:g}/{middle['requests']:g}",
        )
    console.print(table)
    for name, mode in modes.items():
        for number, run in enumerate(mode["runs"], start=1):
            for warning in warnings(run):
                console.print(f"{name}, run {number}: {warning}", style="yellow", markup=False)


def _share(value: float | None, base: float | None) -> float | None:
    return round(value / base, 4) if value is not None and base else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
