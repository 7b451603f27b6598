"""compare.py's command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from serving.process import ROOT
from synthetic.shapes import SHAPES

from contest.contenders import NAMES
from contest.rows import ROWS
from loraplex_server.bench.load.counts import positive

RESULTS = ROOT / "benchmarks" / "results"
RUNS = 3


def parse(arguments: Sequence[str], description: str | None) -> argparse.Namespace:
    """What was given; `serve` holds the arguments after `--`."""
    before = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    given = _parser(description).parse_args(before)
    given.serve = list(arguments[len(before) + 1 :])
    if given.adapters and not given.model:
        raise ValueError("--adapters goes with --model: what is made of --shape has its own")
    given.runs = given.runs or (1 if given.quick else RUNS)
    given.rows = [name for name in ROWS if name in (given.rows or ROWS)]
    given.out = given.out or RESULTS / f"compare-{_named(given)}{'-quick' if given.quick else ''}.json"
    return given


def _named(given: argparse.Namespace) -> str:
    return str(given.shape if given.model is None else given.model.resolve().name)


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="compare.py", description=description)
    what = parser.add_argument_group("what is compared")
    what.add_argument("--servers", nargs="+", choices=NAMES, help="in this order; all that are installed if not given")
    what.add_argument("--rows", nargs="+", choices=ROWS, help="all if not given")
    what.add_argument("--runs", type=positive, help=f"of each row ({RUNS} if not given); medians are compared")
    what.add_argument("--quick", action="store_true", help="one run of each row, kept in a file of its own")
    what.add_argument("--seed", type=int, default=0, help="of the prompts; all servers get the same ones")
    served = parser.add_argument_group("what is served")
    served.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b", help="random weights, in build/models")
    served.add_argument("--model", type=Path, metavar="DIR", help="a checkpoint in its place")
    served.add_argument("--adapters", type=Path, metavar="DIR", help="32 of one rank; MODEL/adapters if not given")
    report = parser.add_argument_group("report")
    report.add_argument("--out", type=Path, metavar="FILE", help="the JSON file; rows that it has are not run again")
    report.add_argument("--fresh", action="store_true", help="run them again all the same, and begin the file anew")
    report.add_argument("--report", action="store_true", help="run nothing: print the table of what the file has")
    report.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the rows (needs matplotlib)")
    report.add_argument("--scale", type=float, default=0.5, help="of the machine's measurement; less is a try")
    return parser
