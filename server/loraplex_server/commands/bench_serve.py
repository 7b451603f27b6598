"""`loraplex bench serve`: load on any OpenAI-compatible server."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

import uvloop
from rich.console import Console

from loraplex_server.bench.load.arguments import load_options, server_parser
from loraplex_server.bench.load.lines import Lines, broken_off
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.plot import PlotError
from loraplex_server.bench.load.runs import run_load, warm_up
from loraplex_server.bench.load.table import report_console
from loraplex_server.bench.load.targets import Targets, TargetsError, find_targets

BAD_USAGE = 2


def bench_serve(arguments: Sequence[str], prog: str = "loraplex bench serve") -> int:
    """0; 1 where a run had no whole answer at all; 2 where the command cannot be carried out."""
    given = server_parser(prog).parse_args(arguments)
    console = report_console()
    try:
        options = load_options(given)
        lines = Lines(given.label, given.out, given.plot)
        targets = _targets(given, options)
        about = {"url": targets.url, "base": targets.base, "adapters": len(targets.adapters)}
        lines.head("load", {**about, "seed": given.seed, "warmup": given.warmup, "options": asdict(options)})
        try:
            uvloop.run(_all_runs(given, options, targets, console, lines))
        finally:  # however it ended, of the runs that were whole
            lines.report(given.label or f"{options.requests} requests to {targets.url}", console)
    except (ValueError, TargetsError, PlotError) as error:
        return _refused(prog, str(error), console)
    except (MemoryError, OverflowError, OSError) as error:
        return _refused(prog, broken_off(error), console)
    return 0 if all(run.summary.ok for run in lines.runs) else 1


def _refused(prog: str, why: str, console: Console) -> int:
    console.print(f"{prog}: {why}", style="red", markup=False)
    return BAD_USAGE


def _targets(given: argparse.Namespace, options: LoadOptions) -> Targets:
    base = options.popularity.law == "base"
    return find_targets(
        given.url,
        base=given.model,
        adapters=() if base and given.models is None else given.models,
        at_most=None if base else given.adapters,
        api_key=given.api_key,
    )


async def _all_runs(
    given: argparse.Namespace, options: LoadOptions, targets: Targets, console: Console, lines: Lines
) -> None:
    await warm_up(options, targets, given.warmup, given.seed, console)
    for number in range(given.runs):
        lines.add(await run_load(options, targets, given.seed + number, console, f"run {number + 1}/{given.runs}"))
