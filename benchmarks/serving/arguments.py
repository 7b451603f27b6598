"""adapter_tax.py's command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from synthetic.shapes import SHAPES

from loraplex_server.bench.load.arguments import id_range
from loraplex_server.bench.load.counts import positive
from serving.launch import FORMAT_ARGUMENTS, LORAPLEX
from serving.process import ROOT
from serving.tax import MODES


def parse(arguments: Sequence[str], description: str | None) -> argparse.Namespace:
    """What was given; `serve` holds the arguments after `--`."""
    before = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    given = _parser(description).parse_args(before)
    given.serve = list(arguments[len(before) + 1 :])
    if given.url and (given.serve or given.model or given.server):
        raise ValueError("--url names a server that runs already: no MODEL, no --server, and nothing after --")
    if given.adapters and not given.model:
        raise ValueError("--adapters goes with MODEL: what is made of --shape has its own")
    given.server = given.server or LORAPLEX
    return given


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="adapter_tax.py", description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    served = parser.add_argument_group("what is served")
    served.add_argument("model", nargs="?", type=Path, metavar="MODEL", help="a folder; if not given, --shape is made")
    served.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b", help="with random weights, in build/models")
    served.add_argument("--adapters", type=Path, metavar="DIR", help="MODEL/adapters if not given")
    served.add_argument("--format", choices=FORMAT_ARGUMENTS, default="bfloat16", help="of the base, and for the bound")
    served.add_argument("--server", metavar="COMMAND", help=f"in place of: {LORAPLEX}")
    served.add_argument("--url", help="a server that runs already, in place of one started here")
    served.add_argument("--base", metavar="NAME", help="the base model's name, where /v1/models does not tell")
    served.add_argument("--names", nargs="+", metavar="NAME", help="the adapters' names, likewise")
    load = parser.add_argument_group("load")
    load.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    load.add_argument("--concurrency", type=positive, default=32, metavar="C", help="requests at once, one wave a run")
    load.add_argument("--prompt", type=positive, default=128, help="tokens")
    load.add_argument("--output", type=positive, default=64, help="tokens")
    load.add_argument(
        "--token-ids", type=id_range, metavar="LOW:HIGH", help="prompts' ids; from the vocabulary if not given"
    )
    load.add_argument("--runs", type=positive, default=3, help="of each mode, in turns")
    report = parser.add_argument_group("report")
    report.add_argument("--no-roofline", action="store_true", help="do not measure the machine, give no bounds")
    report.add_argument("--label", default="", help="a name for the table and the results")
    report.add_argument("--results", type=Path, metavar="DIR", default=ROOT / "benchmarks" / "results")
    return parser
