"""The limits of this machine for a model. See benchmarks/README.md, and limits/bound.py for the formula."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from synthetic.named import named_shape

from loraplex_server.bench.limits.bound import Served
from loraplex_server.bench.limits.formats import FORMATS, Format, head_format
from loraplex_server.bench.limits.machine import GEMM_SIZES, measure
from loraplex_server.bench.limits.rates import Rates
from loraplex_server.bench.limits.report import bound_row, bound_table, legend, machine_table
from loraplex_server.bench.load.counts import positive
from loraplex_server.engine.cores import usable_cores


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 2 where the command cannot be carried out."""
    given = _parser().parse_args(arguments)
    try:
        model = named_shape(given.model)
    except ValueError as error:
        print(f"roofline.py: {error}", file=sys.stderr)
        return 2
    machines = [] if given.rates else [measure(threads, given.scale) for threads in sorted({1, given.threads})]
    rates = given.rates or machines[-1].best
    context = given.prompt + given.output / 2 if given.context is None else given.context
    rows = [
        bound_row(
            Served(model, rates, FORMATS[form], given.rank, _head(form, given.head)),
            batch,
            distinct,
            given.prompt,
            given.output,
            context,
        )
        for form in given.formats
        for batch in given.batch
        for distinct in sorted({0, 1, batch} if given.distinct is None else {min(given.distinct, batch)})
    ]
    if given.json:
        about = {"machine": [asdict(machine) for machine in machines], "rates": asdict(rates), "model": asdict(model)}
        print(json.dumps({**about, "rank": given.rank, "context": context, "bounds": rows}))
        return 0
    # Where it goes to a file, wide enough for the table all the same.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 130)
    if machines:
        console.print(machine_table(machines))
    console.print(legend(model, rates, given.rank))
    console.print(bound_table(rows, given.prompt, given.output, context))
    return 0


def _head(form: str, given: str | None) -> Format:
    return FORMATS[given] if given else head_format(FORMATS[form])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="roofline.py", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", default="qwen2.5-0.5b", metavar="DIR|SHAPE", help="a checkpoint, or make_model's")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["bfloat16", "int8"])
    parser.add_argument("--head", choices=FORMATS, help="the lm_head's; if not given, as it is served")
    parser.add_argument("--batch", nargs="+", type=positive, default=[1, 8, 32], help="requests at once")
    parser.add_argument("--distinct", type=int, metavar="U", help="distinct adapters; none, one and all if not given")
    parser.add_argument("--rank", type=positive, default=16)
    parser.add_argument("--prompt", type=positive, default=128)
    parser.add_argument("--output", type=positive, default=64)
    parser.add_argument("--context", type=float, help="of the decode step; the middle of the answers if not given")
    parser.add_argument("--threads", type=positive, default=usable_cores())
    parser.add_argument("--scale", type=float, default=1.0, help="of the measurement's sizes; under 1 only to try it")
    parser.add_argument(
        "--rates", type=_rates, metavar="read=GB/S,TYPE=T/S,..",
        help="of another machine, for example read=3350,float32=67,bfloat16=989,int8=1979; nothing is measured then",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON line and no table")
    return parser


def _rates(text: str) -> Rates:
    wanted = {"read", *GEMM_SIZES}
    try:
        found = {name: float(value) for name, _, value in (part.partition("=") for part in text.split(","))}
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if found.keys() != wanted or min(found.values()) <= 0:
        raise argparse.ArgumentTypeError(f"needs each of {', '.join(sorted(wanted))}, above 0")
    return Rates(found.pop("read"), found)


if __name__ == "__main__":
    sys.exit(main())
