"""A load's JSON lines."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from loraplex_server.bench.load.medians import medians, spread
from loraplex_server.bench.load.plot import plot_runs, pyplot
from loraplex_server.bench.load.runs import Run
from loraplex_server.bench.load.table import print_runs

SPREAD = ("output_tok_s", "steady_decode_tok_s")


class Lines:
    """Writes each record as a line of JSON to standard output, and appends it to a file where one is given.

    What will be written to is looked at when it is made: after the runs it would be too late.

    Args:
        label: a name that each line carries.
        out: the file.
        plot: of the picture, where there is to be one.

    Raises:
        OSError: one of them cannot be written.
        PlotError: there is to be a picture, and matplotlib is not installed.
    """

    def __init__(self, label: str, out: Path | None, plot: Path | None) -> None:
        self._label = label
        self._out = out
        self._plot = plot
        self._head: tuple[str, dict[str, Any]] | None = None
        self._lost: OSError | None = None
        self.runs: list[Run] = []
        if out is not None:
            out.open("a").close()
        if plot is not None:
            pyplot()
            os.scandir(plot.parent).close()

    def write(self, kind: str, record: dict[str, Any]) -> None:
        """One line. A file that takes it no more ends no run: `report` says so."""
        line = msgspec.json.encode({"kind": kind, "label": self._label, **record}).decode() + "\n"
        sys.stdout.write(line)
        sys.stdout.flush()
        if self._out is not None and self._lost is None:
            try:
                with self._out.open("a", encoding="utf-8") as file:
                    file.write(line)
            except OSError as error:
                self._lost = OSError(error.errno, error.strerror, str(self._out))

    def head(self, kind: str, record: dict[str, Any]) -> None:
        """What the runs have in common: a line before the first of them, once there is one."""
        self._head = kind, record

    def add(self, run: Run) -> None:
        """A line for a run as soon as it has ended: what comes after it may fail."""
        if self._head is not None and not self.runs:
            self.write(*self._head)
        self.runs.append(run)
        self.write("run", {"seed": run.seed, **asdict(run.summary)})

    def report(self, title: str, console: Console) -> None:
        """A line with the medians of the runs that have ended; the table; the picture. Nothing where none has.

        Raises:
            OSError: one of them cannot be written, or one of the lines before.
        """
        if not self.runs:
            return
        runs, plot = self.runs, self._plot
        summaries = [asdict(run.summary) for run in runs]
        middle = medians(summaries)
        apart = {name: spread([each[name] for each in summaries if each[name] is not None]) for name in SPREAD}
        self.write("summary", {"runs": len(runs), **middle, "spread": apart})
        labels = [f"run {number + 1}" for number in range(len(runs))]
        rows = list(zip(labels, summaries, strict=True))
        print_runs(console, title, [*rows, ("median", middle)] if len(rows) > 1 else rows)
        if plot is not None:
            plot_runs(plot, title, [(label, run.traces) for label, run in zip(labels, runs, strict=True)])
            console.print(f"wrote {plot}", markup=False)
        if self._lost is not None:
            raise self._lost


def broken_off(error: MemoryError | OverflowError | OSError) -> str:
    """Why a load came to no end, in words; what is about standard output is the command line's to say.

    Raises:
        OSError: the same one, where it names no file.
    """
    if not isinstance(error, OSError):
        return f"such a load takes more memory than there is ({str(error) or type(error).__name__})"
    if error.filename is None:
        raise error
    return f"{error.filename}: {error.strerror}"
