"""What HTTP costs: the engine alone, and the same requests as streams over HTTP, in turns.

    python benchmarks/http_cost.py MODEL [--format int8] [--concurrency 64] [-- --threads 2]

One table: tokens a second of both, the share that is left over HTTP, and the processor seconds that the server's HTTP
process, its engine and the client took for 1000 tokens. The client runs on the same cores, which is nobody's fault;
the HTTP process's own seconds are the figure that a busy machine changes least. Arguments after `--` go to
`loraplex serve`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import uvloop
from rich.console import Console
from rich.table import Table
from serving.alone import engine_alone, run_alone
from serving.inputs import token_ids
from serving.launch import LORAPLEX, serve_command
from serving.process import Running, ServerError, free_port, running
from serving.wave import parse_wave, wave_parser

from loraplex_server.bench.load.lengths import Fixed
from loraplex_server.bench.load.medians import medians
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.runs import run_load
from loraplex_server.bench.load.table import report_console
from loraplex_server.bench.load.targets import Targets, find_targets
from loraplex_server.bench.load.workload import plan

RATES = ("output_tok_s", "steady_decode_tok_s")
SECONDS = ("engine_cpu_s_per_1000", "http_cpu_s_per_1000", "client_cpu_s_per_1000")
WARMUP_TOKENS = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a request failed; 2 where the command cannot be carried out."""
    console = report_console()
    parser = wave_parser("http_cost.py", __doc__, concurrency=64)
    options = parse_wave(parser, sys.argv[1:] if arguments is None else arguments)
    port = free_port()
    try:
        command = serve_command(
            *(LORAPLEX, options.model, options.adapters, options.format),
            *(options.concurrency, port, options.serve),
        )
        with tempfile.TemporaryDirectory() as folder, running(command, port, Path(folder) / "log") as server:
            found = _measured(options, server, console)
    except (ValueError, ServerError, RuntimeError) as error:
        console.print(f"http_cost.py: {error}", style="red", markup=False)
        return 2
    _print(console, options, {name: medians(runs) for name, runs in found.items()})
    return 0


def _measured(options: argparse.Namespace, server: Running, console: Console) -> dict[str, list[dict[str, Any]]]:
    """The runs of each way; both have the same prompts, and take turns, so that drift of the machine hits both."""
    targets = find_targets(server.url, base=None, adapters=(), at_most=None)
    core = engine_alone(options.model, options.format, options.concurrency)
    vocabulary = core.runner.model.config.vocab_size
    load = LoadOptions(
        requests=options.concurrency,
        concurrency=options.concurrency,
        prompt=Fixed(options.prompt),
        output=Fixed(options.output),
        token_ids=token_ids(vocabulary),
    )
    brief = LoadOptions(**{**vars(load), "output": Fixed(WARMUP_TOKENS)})
    found: dict[str, list[dict[str, Any]]] = {"engine alone": [], "over HTTP": []}
    for seed in range(-1, options.runs):
        alone = run_alone(core, plan(load if seed >= 0 else brief, targets, max(seed, 0)))
        http = _over_http(load if seed >= 0 else brief, targets, seed, server, console)
        if seed >= 0:
            found["engine alone"].append(alone)
            found["over HTTP"].append(http)
    core.store.close()
    return found


def _over_http(
    load: LoadOptions, targets: Targets, seed: int, server: Running, console: Console
) -> dict[str, float | None]:
    before = _processor_seconds(server)
    summary = uvloop.run(run_load(load, targets, max(seed, 0), console, f"run {seed + 1}")).summary
    after = _processor_seconds(server)
    if summary.ok < summary.requests:
        raise RuntimeError(f"{summary.requests - summary.ok} requests failed: {summary.error_example}")
    per_1000 = 1000 / summary.output_tokens
    return {
        "output_tok_s": summary.output_tok_s,
        "steady_decode_tok_s": summary.steady_decode_tok_s,
        "http_cpu_s_per_1000": (after[0] - before[0]) * per_1000,
        "engine_cpu_s_per_1000": (after[1] - before[1]) * per_1000,
        "client_cpu_s_per_1000": summary.client_cpu_cores * summary.duration_s * per_1000,
    }


def _processor_seconds(server: Running) -> tuple[float, float]:
    """So far, of the process that speaks HTTP and of those that it started."""
    first = psutil.Process(server.pid)
    times = [process.cpu_times() for process in (first, *first.children(recursive=True))]
    seconds = [each.user + each.system for each in times]
    return seconds[0], sum(seconds[1:])


def _print(console: Console, options: argparse.Namespace, found: Mapping[str, Mapping[str, Any]]) -> None:
    load = f"{options.concurrency} streams of {options.prompt} + {options.output} tokens"
    table = Table(title=f"{options.model.name}, {options.format}: {load}; {options.runs} runs", title_justify="left")
    for heading in ("", "output tok/s", "left", "steady tok/s", "left", "engine CPU s/1000", "HTTP", "client"):
        table.add_column(heading, justify="right" if heading else "left")
    alone = found["engine alone"]
    for name, middle in found.items():
        cells = [name]
        for rate in RATES:
            value, whole = middle.get(rate), alone.get(rate)
            cells += ["-", "-"] if not value or not whole else [f"{value:.1f}", f"{value / whole:.1%}"]
        table.add_row(*cells, *(f"{middle[name]:.3f}" if name in middle else "" for name in SECONDS))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
