"""A load's JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from loraplex_server.bench.load.medians import medians, spread
from loraplex_server.bench.load.plot import plot_runs
from loraplex_server.bench.load.runs import Run
from loraplex_server.bench.load.table import print_runs

SPREAD = ("output_tok_s", "steady_decode_tok_s")


class Lines:
    """Writes each record as a line of JSON to standard output, and appends it to a file where one is given.

    Args:
        label: a name that each line carries.
        out: the file.
    """

    def __init__(self, label: str, out: Path | None) -> None:
        self._label = label
        self._out = out

    def write(self, kind: str, record: dict[str, Any]) -> None:
        """One line."""
        line = msgspec.json.encode({"kind": kind, "label": self._label, **record}).decode() + "\n"
        sys.stdout.write(line)
        sys.stdout.flush()
        if self._out is not None:
            with self._out.open("a", encoding="utf-8") as file:
                file.write(line)

    def report(self, runs: Sequence[Run], title: str, console: Console, plot: Path | None) -> dict[str, Any]:
        """A line for each run and one with their medians, which it returns; the table; the picture.

        Raises:
            PlotError: there is to be a picture, and matplotlib is not installed.
        """
        summaries = [asdict(run.summary) for run in runs]
        for run, summary in zip(runs, summaries, strict=True):
            self.write("run", {"seed": run.seed, **summary})
        middle = medians(summaries)
        apart = {name: spread([each[name] for each in summaries if each[name] is not None]) for name in SPREAD}
        self.write("summary", {"runs": len(runs), **middle, "spread": apart})
        labels = [f"run {number + 1}" for number in range(len(runs))]
        rows = list(zip(labels, summaries, strict=True))
        print_runs(console, title, [*rows, ("median", middle)] if len(rows) > 1 else rows)
        if plot is not None:
            plot_runs(plot, title, [(label, run.traces) for label, run in zip(labels, runs, strict=True)])
            console.print(f"wrote {plot}", markup=False)
        return middle
