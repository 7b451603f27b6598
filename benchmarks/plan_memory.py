"""What `loraplex plan` says of memory, against what a running server has resident.

Starts `loraplex serve` for each format, sends requests for as many adapters as there are, long prompts, and requests
that draw tokens, and prints for each what was planned and what both processes had together: in the end, and at most.
The KV cache and --adapter-memory are claimed at the start, so both are full in every sense that memory knows.

    python benchmarks/plan_memory.py MODEL --formats bfloat16 int8 int4
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from footprint.resident import children, forget_peaks, resident, together
from rich.table import Table
from serving.launch import FORMAT_ARGUMENTS, serve_command
from serving.process import free_port, running

from loraplex_server.bench.load.counts import positive
from loraplex_server.bench.load.table import report_console

COMMAND = (
    "{python} -m loraplex_server.cli serve {model} --adapters {adapters} --port {port} {format} "
    "--max-num-seqs {concurrency} --no-request-log --quantization-cache off"
)
SHORT, LONG, ANSWER = 64, 1024, 4  # tokens
MB = 1_000_000


@dataclass(frozen=True)
class Measured:
    """Bytes of both processes: once they are idle again, and the most that there was while they served."""

    end: int
    peak: int


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--adapters", type=Path, metavar="DIR", help="all of one shape; MODEL/adapters if not given")
    parser.add_argument("--formats", nargs="+", choices=FORMAT_ARGUMENTS, default=["bfloat16", "int8", "int4"])
    parser.add_argument("--kv", default="200MiB", metavar="SIZE", help="of the KV cache")
    parser.add_argument("--adapter-memory", default="600MiB", metavar="SIZE")
    parser.add_argument("--seats", type=positive, default=32, help="--max-num-seqs")
    parser.add_argument("--threads", type=positive, help="of the engine; one where the machine is busy")
    options = parser.parse_args(arguments)
    options.adapters = options.adapters or options.model / "adapters"
    return options


def planned(options: argparse.Namespace, form: str) -> dict[str, Any]:
    """What `loraplex plan --json` prints for this server."""
    folders = sorted(options.adapters.iterdir())
    command = [sys.executable, "-m", "loraplex_server.cli", "plan", "--model", str(options.model), "--json"]
    command += ["--cpu", "--memory", "1TB", "--adapters", str(len(folders)), "--adapter", str(folders[0])]
    command += [*FORMAT_ARGUMENTS[form].split(), *_sizes(options), "--max-num-seqs", str(options.seats)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def measured(options: argparse.Namespace, form: str) -> Measured:
    """Of a server that has done all kinds of work once."""
    port = free_port()
    more = [*_sizes(options), *(["--threads", str(options.threads)] if options.threads else [])]
    command = serve_command(COMMAND, options.model, options.adapters, form, options.seats, port, more)
    with tempfile.TemporaryDirectory() as folder, running(command, port, Path(folder) / "log") as server:
        with _highest(children(os.getpid())) as found:
            work(server.url, sorted(path.name for path in options.adapters.iterdir()))
        return found[0]


def work(url: str, names: Sequence[str]) -> None:
    """Each adapter once, all at once; a prompt of several steps; and each adapter again, drawn and scored."""
    with ThreadPoolExecutor(len(names)) as pool, httpx.Client(timeout=600) as client:

        def ask(name: str, length: int, **more: object) -> None:
            prompt = [100 + place % 400 for place in range(length)]
            body = {"model": name, "prompt": prompt, "max_tokens": ANSWER, "temperature": 0, "ignore_eos": True}
            client.post(f"{url}/v1/completions", json=body | more).raise_for_status()

        list(pool.map(lambda name: ask(name, SHORT), names))
        ask(names[0], LONG)
        list(pool.map(lambda name: ask(name, SHORT, temperature=1, top_p=0.9), names))


@contextmanager
def _highest(pids: Sequence[int]) -> Iterator[list[Measured]]:
    """The list has the figures once the block has ended."""
    forget_peaks(pids)
    found: list[Measured] = []
    yield found
    each = [now for pid in pids if (now := resident(pid)) is not None]
    end = together(pids)
    # A process's peak is known by itself alone: what both share of it is taken to be what they share now.
    found.append(Measured(end, end + sum(now.peak - now.now for now in each)))


def _sizes(options: argparse.Namespace) -> list[str]:
    return ["--kv-cache-memory", options.kv, "--adapter-memory", options.adapter_memory, "--max-model-len", "2048"]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    table = Table(title=f"{options.model.name}, MB", title_justify="left")
    for heading in ("", "planned", "measured", "off by", "at most", "off by"):
        table.add_column(heading, justify="right")
    for form in options.formats:
        plan, found = planned(options, form), measured(options, form)
        off = [plan["total"] / size - 1 for size in (found.end, found.peak)]
        sizes = [f"{size / MB:.0f}" for size in (plan["total"], found.end, found.peak)]
        table.add_row(form, *sizes[:2], f"{off[0]:+.1%}", sizes[2], f"{off[1]:+.1%}")
        line = {"format": form, "planned": plan["total"], "end": found.end, "peak": found.peak}
        print(json.dumps({**line, "off": off[0], "off_peak": off[1], "plan": plan}), flush=True)
    report_console().print(table)


if __name__ == "__main__":
    main()
