"""Loraplex and the servers that people know, the same requests on one machine, one server after the other.

    python benchmarks/peers/install.py
    python benchmarks/compare.py [--shape llama-3.2-1b] [--servers vllm loraplex-bf16] [--rows base-32] [--quick]

Prints a Markdown table, and keeps all of it in a JSON file after each row: a run that was broken off goes on where it
was. Arguments after `--` go to `loraplex serve`. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import uvloop
from contest.arguments import parse
from contest.chart import draw
from contest.contender import Contender, ContestError
from contest.contenders import NAMES, contender
from contest.estimate import seconds
from contest.measure import ADAPTERS, Task, measure
from contest.record import Record, read
from contest.report import markdown
from rich.console import Console
from serving.about import about, portable
from serving.inputs import Inputs, made
from serving.process import ServerError
from synthetic.model import ModelFolderError

from loraplex_server.bench.limits.machine import measure as measure_machine
from loraplex_server.bench.limits.model import ModelShape, model_shape
from loraplex_server.bench.load.plot import PlotError, pyplot
from loraplex_server.bench.load.table import report_console
from loraplex_server.bench.load.targets import TargetsError
from loraplex_server.engine.cores import usable_cores


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a server could not be measured; 2 where the command cannot be carried out."""
    console = report_console()
    try:
        given = parse(sys.argv[1:] if arguments is None else arguments, __doc__)
        if given.plot is not None:
            pyplot()  # before the runs, not after them
        inputs = _inputs(given, console)
        shape, rank = model_shape(inputs.model), inputs.rank
        failed = 0 if given.report else _all_servers(given, inputs, shape, console)
        content = read(given.out)
    except (ValueError, ModelFolderError, ContestError, PlotError) as error:
        console.print(f"compare.py: {error}", style="red", markup=False)
        return 2
    print(markdown(content, shape, rank))
    console.print(f"kept in {given.out}", markup=False)
    if given.plot is not None:
        draw(given.plot, content)
        console.print(f"wrote {given.plot}", markup=False)
    return 1 if failed else 0


def run_as_command(arguments: Sequence[str] | None = None) -> int:
    """`main`, where SIGTERM comes as an exception, so that the server that is running is stopped too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return main(arguments)


def _inputs(given: argparse.Namespace, console: Console) -> Inputs:
    if given.model is None:
        return made(given.shape, ADAPTERS, console)
    return Inputs(given.model, given.adapters or given.model / "adapters")


def _all_servers(given: argparse.Namespace, inputs: Inputs, shape: ModelShape, console: Console) -> int:
    """How many could not be measured. Those that were not asked for by name, and are not installed, are left out."""
    settings = {"shape": shape.name, "rank": inputs.rank, "runs": given.runs, "seed": given.seed}
    found = {**about(), "command": shlex.join(portable(sys.argv))}
    record = Record(given.out, settings, found, given.fresh)
    contest = [contender(name, given.serve) for name in given.servers or NAMES]
    for each in contest:
        if each.versions() is None:
            console.print(f"{each.label} is not installed: python benchmarks/peers/install.py", style="yellow")
            if given.servers:
                raise ContestError(f"{each.name} is not installed")
    open_rows = {
        each.name: [row for row in given.rows if not record.finished(each, row)]
        for each in contest
        if each.versions() is not None
    }
    took = sum(seconds(each, open_rows.get(each.name, ()), given.runs, shape) for each in contest)
    console.print(f"about {took / 60:.0f} minutes, as a guess", markup=False)
    task = Task(inputs, given.runs, given.seed, console)
    asked = [each for each in contest if open_rows.get(each.name)]
    return sum(not _one_server(each, open_rows[each.name], task, record, given.scale) for each in asked)


def _one_server(each: Contender, rows: Sequence[str], task: Task, record: Record, scale: float) -> bool:
    console = task.console
    console.print(f"\n{each.label}", style="bold", markup=False)
    try:
        each.prepare(task.inputs, console)
        rates = asdict(measure_machine(usable_cores(), scale).best)
        uvloop.run(measure(each, task, rows, partial(_kept, each, record, rates, console)))
    except (ContestError, ServerError, TargetsError) as error:
        console.print(f"{each.label}: {error}", style="red", markup=False)
        return False
    return True


def _kept(
    each: Contender, record: Record, rates: dict[str, object], console: Console, row: str, result: dict[str, object]
) -> None:
    record.add(each, row, result, rates)
    shown = f"{each.label}, {row}: {result['figure']}, spread {result['spread']}, others {result['others_cores']} cores"
    console.print(shown, markup=False)


if __name__ == "__main__":
    sys.exit(run_as_command())
