"""What adapters cost that nobody asks for: the same requests beside a small catalogue and beside a large one, in turns.

    python benchmarks/catalogue.py MODEL [--more 1000] [--format int8] [-- --threads 2]

One server. Before each second run so many more adapters appear in its folder (links to the files of one), and leave
after it. Every request is for an adapter that is in memory already. The ratio of the two rates is what the catalogue
costs; the time of `GET /v1/models`, which lists all of it, stands beside. Arguments after `--` go to `loraplex serve`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import uvloop
from rich.console import Console
from rich.table import Table
from serving.inputs import token_ids
from serving.launch import LORAPLEX, serve_command
from serving.process import Running, ServerError, free_port, running
from serving.wave import parse_wave, wave_parser

from loraplex_server.bench.limits.model import model_shape
from loraplex_server.bench.load.counts import positive
from loraplex_server.bench.load.lengths import Fixed
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.popularity import Popularity
from loraplex_server.bench.load.runs import run_load
from loraplex_server.bench.load.table import report_console
from loraplex_server.bench.load.targets import TargetsError, find_targets

WARMUP_TOKENS = 4
LISTINGS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 2 where the command cannot be carried out, or a request failed."""
    console = report_console()
    parser = wave_parser("catalogue.py", __doc__, concurrency=32)
    parser.add_argument("--more", type=positive, default=1000, metavar="N", help="adapters that nobody asks for")
    options = parse_wave(parser, sys.argv[1:] if arguments is None else arguments)
    port = free_port()
    try:
        with _folder(options.adapters) as folder:
            command = serve_command(
                LORAPLEX, options.model, folder, options.format, options.concurrency, port, options.serve
            )
            with running(command, port, folder.parent / "log") as server:
                _compare(options, server, folder, console)
    except (ValueError, OSError, ServerError, TargetsError, RuntimeError) as error:
        console.print(f"catalogue.py: {error}", style="red", markup=False)
        return 2
    return 0


@contextlib.contextmanager
def _folder(adapters: Path) -> Iterator[Path]:
    """A copy by links, so that nobody's folder is written to."""
    with tempfile.TemporaryDirectory(dir=adapters.parent) as parent:
        folder = Path(parent) / "adapters"
        shutil.copytree(adapters, folder, copy_function=os.link)
        yield folder


@contextlib.contextmanager
def _more(folder: Path, count: int) -> Iterator[None]:
    source = next(folder.iterdir())
    made = [folder / f"unasked-{number:06d}" for number in range(count)]
    try:
        for each in made:
            shutil.copytree(source, each, copy_function=os.link)
        yield
    finally:
        for each in made:
            shutil.rmtree(each, ignore_errors=True)


def _compare(options: argparse.Namespace, server: Running, folder: Path, console: Console) -> None:
    rates: dict[int, list[float]] = {0: [], options.more: []}
    listings: dict[int, list[float]] = {0: [], options.more: []}
    _run(options, server, -1, console)
    for seed in range(options.runs):
        for more, found in rates.items():
            with _more(folder, more):
                listings[more] += [_listing(server) for _ in range(LISTINGS)]
                found.append(_run(options, server, seed, console))
    alone = statistics.median(rates[0])
    table = Table(title=f"{options.model.name}, {options.format}: {options.concurrency} requests, each an adapter's")
    for heading in ("adapters beside those in use", "output tok/s", "of none", "GET /v1/models, ms"):
        table.add_column(heading, justify="right")
    for more, found in rates.items():
        middle = statistics.median(found)
        table.add_row(f"{more}", f"{middle:.1f}", f"{middle / alone:.1%}", f"{statistics.median(listings[more]):.1f}")
    console.print(table)


def _run(options: argparse.Namespace, server: Running, seed: int, console: Console) -> float:
    vocabulary = model_shape(str(options.model)).vocabulary
    load = LoadOptions(
        requests=options.concurrency,
        concurrency=options.concurrency,
        prompt=Fixed(options.prompt),
        output=Fixed(options.output if seed >= 0 else WARMUP_TOKENS),
        popularity=Popularity("distinct"),
        token_ids=token_ids(vocabulary),
    )
    names = sorted(path.name for path in options.adapters.iterdir() if path.is_dir())
    targets = find_targets(server.url, adapters=names[: options.concurrency])
    summary = uvloop.run(run_load(load, targets, max(seed, 0), console, f"run {seed + 1}")).summary
    if summary.ok < summary.requests:
        raise RuntimeError(f"{summary.requests - summary.ok} requests failed: {summary.error_example}")
    return summary.output_tok_s


def _listing(server: Running) -> float:
    start = time.perf_counter()
    httpx.get(f"{server.url}/v1/models", timeout=60).raise_for_status()
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    sys.exit(main())
