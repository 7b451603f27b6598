"""What LoRA costs on this machine: the base model, one adapter and all distinct, on one server.

Starts the server, gives it the same load in each mode in turns, and prints one table; see benchmarks/README.md.
Arguments after `--` go to `loraplex serve`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from serving.about import about, portable
from serving.arguments import parse
from serving.comparison import compare, print_comparison
from serving.inputs import Inputs, made, token_ids
from serving.launch import serve_command
from serving.process import Running, ServerError, free_port, running
from serving.tax import add_bounds, all_modes
from serving.usage import peak_rss_mb
from synthetic.model import ModelFolderError

from loraplex_server.bench.limits.bound import Served
from loraplex_server.bench.limits.formats import FORMATS, head_format
from loraplex_server.bench.limits.machine import measure
from loraplex_server.bench.limits.model import model_shape
from loraplex_server.bench.load.lengths import Fixed
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.table import report_console
from loraplex_server.bench.load.targets import TargetsError, find_targets
from loraplex_server.engine.cores import usable_cores

# Bounds need the rates to a few percent, and no matrix that takes a slow machine a minute.
MEASURE_SCALE = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a request failed; 2 where the command cannot be carried out."""
    console = report_console()
    try:
        given = parse(sys.argv[1:] if arguments is None else arguments, __doc__)
        result = _measured(given, console)
    except (ValueError, ModelFolderError, ServerError, TargetsError) as error:
        console.print(f"adapter_tax.py: {error}", style="red", markup=False)
        return 2
    machine, modes = result["about"]["machine"], result["modes"]
    load = f"{given.concurrency} requests of {given.prompt} + {given.output} tokens"
    title = f"{given.label or result['model']}, {given.format}: {load}; {machine['cpu']}, {machine['cores']} cores"
    print_comparison(console, title, modes)
    console.print(f"wrote {_saved(result, given.results)}", markup=False)
    return 0 if all(run["ok"] == run["requests"] for mode in modes.values() for run in mode["runs"]) else 1


def _measured(given: argparse.Namespace, console: Console) -> dict[str, Any]:
    inputs = _inputs(given, console)
    rates = None if given.no_roofline or inputs is None else measure(usable_cores(), MEASURE_SCALE).best
    options = LoadOptions(
        requests=given.concurrency,
        concurrency=given.concurrency,
        prompt=Fixed(given.prompt),
        output=Fixed(given.output),
        token_ids=given.token_ids or _token_ids(inputs),
    )
    needed = given.concurrency if "distinct" in given.modes else int("one" in given.modes)
    with _server(given, inputs, console) as (server, command):
        targets = find_targets(server.url, base=given.base, adapters=given.names, at_most=needed)
        runs = uvloop.run(all_modes(options, targets, given.modes, given.runs, server.pid, console))
        peak = {} if server.pid is None else peak_rss_mb(server.pid)
    modes = compare(runs)
    if rates is not None and inputs is not None:
        form = FORMATS[given.format]
        served = Served(model_shape(str(inputs.model)), rates, form, inputs.rank, head_format(form))
        add_bounds(modes, served, given.concurrency, given.prompt, given.output)
    return {
        "tool": "adapter_tax",
        "label": given.label,
        "model": targets.base if inputs is None else inputs.model.name,
        "format": given.format,
        "command": command,
        "about": about(),
        "rates": None if rates is None else asdict(rates),
        "load": asdict(options),
        "server_peak_rss_mb": peak,
        "modes": modes,
    }


def _token_ids(inputs: Inputs | None) -> tuple[int, int]:
    """Ids that this model, or any that runs already, should have."""
    return token_ids(16000 if inputs is None else model_shape(str(inputs.model)).vocabulary)


def _inputs(given: argparse.Namespace, console: Console) -> Inputs | None:
    """What to serve; None where a server runs already."""
    if given.url:
        return None
    if given.model is None:
        return made(given.shape, given.concurrency, console)
    return Inputs(given.model, given.adapters or given.model / "adapters")


@contextlib.contextmanager
def _server(given: argparse.Namespace, inputs: Inputs | None, console: Console) -> Iterator[tuple[Running, str]]:
    """The server that runs already, or one of our own while the block runs, and its command."""
    if inputs is None:
        yield Running(given.url, None), ""
        return
    port = free_port()
    command = serve_command(
        given.server, inputs.model, inputs.adapters, given.format, given.concurrency, port, given.serve
    )
    console.print(shlex.join(command), markup=False, style="dim")
    with tempfile.TemporaryDirectory() as folder, running(command, port, Path(folder) / "log") as server:
        yield server, shlex.join(portable(command))


def _saved(result: dict[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    when = result["about"]["when"].replace("-", "").replace(":", "").partition("+")[0]
    path = folder / f"adapter_tax-{Path(result['model']).name}-{result['format']}-{when}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
