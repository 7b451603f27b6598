"""How much memory a server takes beside what it was made for: weights, KV cache and resident adapters.

Starts `loraplex serve`, sends requests for different adapters, then prompts so long that every block of the KV cache is
written, then a prompt whose own log probabilities are asked for; meanwhile the processes are looked at, and the most
that each had resident in each phase is printed, with what is left of it once weights, cache and adapters are taken off.

    python benchmarks/memory.py MODEL --formats bfloat16 int8 int4
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import uvloop
from footprint.report import Asked, figures, print_phases
from footprint.watch import watching
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from serving.launch import FORMAT_ARGUMENTS, serve_command
from serving.process import free_port, running

from loraplex_server.bench.load.counts import positive
from loraplex_server.bench.load.lengths import Fixed
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.popularity import Popularity
from loraplex_server.bench.load.runs import run_load
from loraplex_server.bench.load.table import report_console
from loraplex_server.bench.load.targets import Targets, find_targets

COMMAND = (
    "{python} -m loraplex_server.cli serve {model} --adapters {adapters} --port {port} {format} "
    "--max-num-seqs {concurrency} --no-request-log"
)
SCORED = 1024  # tokens of the prompt whose log probabilities are asked for


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--adapters", type=Path, metavar="DIR", help="MODEL/adapters if not given")
    parser.add_argument("--formats", nargs="+", choices=FORMAT_ARGUMENTS, default=["bfloat16", "int8", "int4"])
    parser.add_argument("--requests", type=positive, default=32, help="at once, each with an adapter of its own")
    parser.add_argument("--kv", default="400MiB", metavar="SIZE", help="of the KV cache")
    parser.add_argument("--long", type=positive, default=1056, help="tokens of the long prompts")
    parser.add_argument("--threads", type=positive, help="of the engine; one where the machine is busy")
    options = parser.parse_args(arguments)
    options.adapters = options.adapters or options.model / "adapters"
    return options


async def short(options: argparse.Namespace, targets: Targets, console: Console) -> None:
    """As many requests at once as there are adapters."""
    load = LoadOptions(requests=options.requests, concurrency=options.requests, popularity=Popularity("distinct"))
    await run_load(load, targets, 0, console, "short")


async def long(options: argparse.Namespace, targets: Targets, cached: int, console: Console) -> None:
    """So many long prompts that the cache, of `cached` tokens, is written once."""
    load = LoadOptions(
        requests=-(-cached // options.long) + 1,
        concurrency=options.requests // 2,
        popularity=Popularity("distinct"),
        prompt=Fixed(options.long),
        output=Fixed(2),
    )
    await run_load(load, targets, 1, console, "long")


def score(url: str, model: str) -> None:
    """Ask for the log probabilities of a prompt's own tokens."""
    body = {
        "model": model,
        "prompt": [1000 + token for token in range(SCORED)],
        "max_tokens": 1,
        "echo": True,
        "logprobs": 5,
    }
    httpx.post(f"{url}/v1/completions", json=body, timeout=300).raise_for_status()


def adapter_bytes(url: str) -> int:
    """Of the adapters in memory."""
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text):
        if family.name == "loraplex_adapter_bytes":
            return int(sum(sample.value for sample in family.samples))
    raise RuntimeError(f"{url}/metrics does not tell of adapters")


def logged(log: str, name: str) -> int:
    """A number of the engine's facts, as its log has them."""
    found = re.search(rf"\b{name}=(\d+)", log)
    if found is None:
        raise RuntimeError(f"the log does not tell {name}: {log[-2000:]}")
    return int(found[1])


def measure(options: argparse.Namespace, form: str, console: Console) -> dict[str, Any]:
    """One server from its start to its end."""
    port = free_port()
    more = ["--kv-cache-memory", options.kv, *(["--threads", str(options.threads)] if options.threads else [])]
    command = serve_command(COMMAND, options.model, options.adapters, form, options.requests, port, more)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with watching(log) as watch, running(command, port, log) as server:
            targets, facts = find_targets(server.url, at_most=options.requests), log.read_text(encoding="utf-8")
            watch.begin(f"{options.requests} requests of 128 + 64 tokens")
            uvloop.run(short(options, targets, console))
            watch.begin(f"prompts of {options.long} tokens")
            cached = logged(facts, "num_blocks") * logged(facts, "block_size")
            uvloop.run(long(options, targets, cached, console))
            watch.begin(f"log probabilities of {SCORED} tokens")
            score(server.url, targets.base)
            watch.begin("after")
            watch.look()
            adapters = adapter_bytes(server.url)
    asked = Asked(logged(facts, "weights_bytes"), logged(facts, "kv_cache_bytes"), adapters)
    print_phases(console, form, asked, watch.phases)
    return {"format": form, **figures(asked, watch.phases)}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    console = report_console()
    for form in options.formats:
        print(json.dumps(measure(options, form, console)), flush=True)


if __name__ == "__main__":
    main()
