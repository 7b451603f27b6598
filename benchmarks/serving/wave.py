"""The command line of benchmarks that give one server one wave of requests after the other."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from loraplex_server.bench.load.counts import positive
from serving.launch import FORMAT_ARGUMENTS


def wave_parser(prog: str, description: str | None, concurrency: int) -> argparse.ArgumentParser:
    """Options that all of them have.

    Args:
        prog: the command. description: its docstring, of which the first line is shown.
        concurrency: requests of a wave, unless told otherwise.
    """
    parser = argparse.ArgumentParser(prog=prog, description=(description or "").partition("\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL", help="a folder")
    parser.add_argument("--adapters", type=Path, metavar="DIR", help="MODEL/adapters if not given")
    parser.add_argument("--format", choices=FORMAT_ARGUMENTS, default="bfloat16", help="of the base")
    parser.add_argument("--concurrency", type=positive, default=concurrency, metavar="C", help="requests at once")
    parser.add_argument("--prompt", type=positive, default=128, help="tokens")
    parser.add_argument("--output", type=positive, default=64, help="tokens")
    parser.add_argument("--runs", type=positive, default=3, help="of each way, in turns")
    return parser


def parse_wave(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """What was given; `serve` holds the arguments after `--`, and `adapters` the folder in any case."""
    ours = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    given = parser.parse_args(ours)
    given.serve = list(arguments[len(ours) + 1 :])
    given.adapters = given.adapters or given.model / "adapters"
    return given
