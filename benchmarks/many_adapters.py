"""A thousand adapters where twenty fit: what their coming and going costs, against the same traffic over twenty.

Writes a catalogue of adapters of mixed ranks (a few real files, linked into as many folders as there are names), serves
it with memory for some on the device and for some more in the host tier, and sends Zipf traffic; then the same requests
again, each adapter's name replaced by one of twenty that all stay in memory. What the requests found in memory is held
against the same requests under LRU, under the served policy and in hindsight, simulated.

    python benchmarks/many_adapters.py --model MODEL
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import torch
import uvloop
from adapter_cache import POLICIES
from caching.bound import most_hits
from caching.simulate import Simulation
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from serving.process import free_port, running
from synthetic.adapters import make_adapters
from synthetic.blueprint import Blueprint
from transformers import AutoConfig

from loraplex_server.bench.load.lengths import Fixed
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.popularity import Popularity
from loraplex_server.bench.load.runs import WARMUP_SEED, Run, run_load, warm_up
from loraplex_server.bench.load.table import report_console
from loraplex_server.bench.load.targets import Targets
from loraplex_server.bench.load.workload import plan

RANKS = (4, 8, 16, 32, 64)
FILES_A_RANK = 2
WARM_SEED = 1


@dataclass(frozen=True)
class Catalogue:
    """Attributes: folder: of all. names: in the order of their popularity. sizes: of each in memory."""

    folder: Path
    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def mean_bytes(self) -> int:
        """Of one."""
        return sum(self.sizes) // len(self.sizes)


def write_catalogue(folder: Path, model: Path, count: int) -> Catalogue:
    """`count` names over a few files: a name is an adapter of its own to the server, whatever its bytes."""
    blueprint = Blueprint(AutoConfig.from_pretrained(model))
    files = make_adapters(folder / "files", blueprint, str(model), FILES_A_RANK * len(RANKS), RANKS, 0, torch.bfloat16)
    names = []
    for number in range(count):
        name = f"tenant-{number:04}"
        (folder / "all" / name).mkdir(parents=True)
        for file in files[number % len(files)].iterdir():
            os.link(file, folder / "all" / name / file.name)
        names.append(name)
    sizes = [(path / "adapter_model.safetensors").stat().st_size for path in files]
    return Catalogue(folder / "all", tuple(names), tuple(sizes[number % len(files)] for number in range(count)))


def counters(url: str) -> dict[str, float]:
    """What the server has counted so far, by the last part of the metric's name and its tier."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text):
        for sample in family.samples:
            if sample.name.startswith("loraplex_adapter_") and not {"le", "adapter"} & sample.labels.keys():
                found[sample.name.removeprefix("loraplex_adapter_") + str(sample.labels.get("tier", ""))] = sample.value
    return found


def serve(options: argparse.Namespace, catalogue: Catalogue, device: int, host: int, port: int) -> list[str]:
    """The command, with memory for so many adapters of the mean size."""
    command = [sys.executable, "-m", "loraplex_server.cli", "serve", str(options.model), "--port", str(port)]
    command += ["--adapters", str(catalogue.folder), "--dtype", "bfloat16", "--max-model-len", "1024"]
    command += ["--max-num-seqs", str(options.concurrency), "--no-enable-prefix-caching", "--no-request-log"]
    return [
        *command,
        *("--adapter-memory", str(device * catalogue.mean_bytes)),
        *("--adapter-host-memory", str(host * catalogue.mean_bytes)),
    ]


def load_of(options: argparse.Namespace) -> LoadOptions:
    """What is sent."""
    return LoadOptions(
        requests=options.requests,
        concurrency=options.concurrency,
        popularity=Popularity("zipf", options.zipf),
        prompt=Fixed(options.prompt),
        output=Fixed(options.output),
    )


def simulated(options: argparse.Namespace, catalogue: Catalogue) -> dict[str, float]:
    """Share of the same requests that find their adapter in a tier, by policy."""
    load, targets = load_of(options), Targets("http://127.0.0.1", "base", catalogue.names)
    wave = replace(load, requests=load.wave, concurrency=load.wave)
    warm = [int(each.adapter or 0) for each in plan(wave, targets, WARMUP_SEED + WARM_SEED)]
    trace = warm + [int(each.adapter or 0) for each in plan(load, targets, 0)]
    budgets = (options.device * catalogue.mean_bytes, options.host * catalogue.mean_bytes)
    found = {}
    for name, make in POLICIES.items():
        policy = make(trace, catalogue.sizes)
        outcome = Simulation(trace, catalogue.sizes, *budgets, policy, options.concurrency, 0).run()
        found[name] = outcome.hits + outcome.host_hits
    found["bound"] = most_hits(trace, catalogue.sizes, sum(budgets))
    return found


def measure(
    options: argparse.Namespace, catalogue: Catalogue, names: Sequence[str], device: int, host: int, console: Console
) -> tuple[Run, dict[str, float]]:
    """One server, one run; what it counted during the run."""
    load = load_of(options)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with running(serve(options, catalogue, device, host, port), port, log) as server:
            targets = Targets(server.url, options.model.name, tuple(names))
            uvloop.run(warm_up(load, targets, 1, WARM_SEED, console))
            before = counters(server.url)
            run = uvloop.run(run_load(load, targets, 0, console, f"{device} on the device, {host} on the host"))
            after = counters(server.url)
        if "Traceback" in log.read_text():
            raise RuntimeError(log.read_text()[-4000:])
    return run, {name: value - before.get(name, 0.0) for name, value in after.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapters", type=int, default=1000)
    parser.add_argument("--device", type=int, default=20, help="adapters of the mean size that fit on the device")
    parser.add_argument("--host", type=int, default=100, help="that fit in the host tier")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--zipf", type=float, default=1.0)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--output", type=int, default=64)
    options = parser.parse_args()
    console = report_console()
    results: dict[str, Any] = {}
    # Beside the model: the folders' files are links, and /tmp may be memory.
    with tempfile.TemporaryDirectory(dir=options.model.parent) as folder:
        catalogue = write_catalogue(Path(folder), options.model, options.adapters)
        few = [catalogue.names[number % options.device] for number in range(options.adapters)]
        for label, names, device, host in (
            ("many", catalogue.names, options.device, options.host),
            ("resident", few, 2 * options.device, 0),
        ):
            run, counted = measure(options, catalogue, names, device, host, console)
            results[label] = {**vars(run.summary), "counted": counted}
    for label, found in results.items():
        print(
            f"{label:9} {found['output_tok_s']:8.1f} tok/s  {found['ok']} ok, errors {found['errors']}  "
            + ", ".join(f"{name} {value:g}" for name, value in sorted(found["counted"].items()) if value)
        )
    shares = simulated(options, catalogue)
    print("found in memory, simulated: " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    print(f"many / resident: {results['many']['output_tok_s'] / results['resident']['output_tok_s']:.3f}")
    print(json.dumps(results, default=str))


if __name__ == "__main__":
    main()
