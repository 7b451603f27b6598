"""Load on any OpenAI-compatible server. See benchmarks/README.md; `python benchmarks/load.py --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from rich.console import Console

from loraplex_server.bench.load.arguments import load_options, parser
from loraplex_server.bench.load.medians import medians, spread
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.plot import PlotError, plot_runs, pyplot
from loraplex_server.bench.load.runs import Run, run_load, warm_up
from loraplex_server.bench.load.table import print_runs, report_console
from loraplex_server.bench.load.targets import Targets, TargetsError, find_targets


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a run had no whole answer at all; 2 where the command cannot be carried out."""
    given = parser().parse_args(arguments)
    console = report_console()
    try:
        options = load_options(given)
        if given.plot is not None:
            pyplot()  # before the runs, not after them
        base = options.popularity.law == "base"
        targets = find_targets(
            given.url,
            base=given.model,
            adapters=() if base and given.models is None else given.models,
            at_most=None if base else given.adapters,
            api_key=given.api_key,
        )
        runs = uvloop.run(_all_runs(given, options, targets, console))
    except (ValueError, TargetsError, PlotError) as error:
        console.print(f"load.py: {error}", style="red", markup=False)
        return 2
    _report(given, options, targets, runs, console)
    return 0 if all(run.summary.ok for run in runs) else 1


async def _all_runs(given: argparse.Namespace, options: LoadOptions, targets: Targets, console: Console) -> list[Run]:
    await warm_up(options, targets, given.warmup, given.seed, console)
    return [
        await run_load(options, targets, given.seed + number, console, f"run {number + 1}/{given.runs}")
        for number in range(given.runs)
    ]


def _report(
    given: argparse.Namespace, options: LoadOptions, targets: Targets, runs: Sequence[Run], console: Console
) -> None:
    summaries = [asdict(run.summary) for run in runs]
    about = {"label": given.label, "url": targets.url, "base": targets.base, "adapters": len(targets.adapters)}
    _write({"kind": "load", **about, "seed": given.seed, "warmup": given.warmup, "options": asdict(options)}, given.out)
    for run, summary in zip(runs, summaries, strict=True):
        _write({"kind": "run", "label": given.label, "seed": run.seed, **summary}, given.out)
    middle = medians(summaries)
    apart = {name: spread([s[name] for s in summaries if s[name] is not None]) for name in SPREAD}
    _write({"kind": "summary", "label": given.label, "runs": len(runs), **middle, "spread": apart}, given.out)
    labels = [f"run {number + 1}" for number in range(len(runs))]
    rows = list(zip(labels, summaries, strict=True))
    title = given.label or f"{options.requests} requests to {targets.url}"
    print_runs(console, title, [*rows, ("median", middle)] if len(rows) > 1 else rows)
    if given.plot is not None:
        plot_runs(given.plot, title, [(label, run.traces) for label, run in zip(labels, runs, strict=True)])
        console.print(f"wrote {given.plot}", markup=False)


SPREAD = ("output_tok_s", "steady_decode_tok_s")


def _write(record: dict[str, Any], out: Path | None) -> None:
    line = msgspec.json.encode(record).decode()
    print(line, flush=True)
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
