"""What LoRA costs a server: the same load for the base model, for one adapter and for as many as requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console

from loraplex_server.bench.limits.bound import Served
from loraplex_server.bench.load.lengths import Fixed
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.popularity import parse_popularity
from loraplex_server.bench.load.runs import run_load, warm_up
from loraplex_server.bench.load.targets import Targets
from serving.usage import watched

MODES = ("base", "one", "distinct")
# Enough to have every adapter loaded and all code run.
WARMUP_TOKENS = 8
# Runs of one mode are closer in seed than this.
SEEDS_APART = 1000


async def all_modes(
    options: LoadOptions, targets: Targets, modes: Sequence[str], runs: int, pid: int | None, console: Console
) -> dict[str, list[dict[str, Any]]]:
    """The summaries of `runs` runs of each mode, the modes taking turns, so that drift of the machine hits all.

    Args:
        options: the load; its popularity is replaced by each mode.
        targets: the server.
        modes: laws of popularity.
        runs: of each mode.
        pid: the server's first process, where it is known; its processor time is noted then.
        console: for the progress bar.
    """
    loads = {mode: replace(options, popularity=parse_popularity(mode)) for mode in modes}
    for load in loads.values():
        await warm_up(replace(load, output=Fixed(WARMUP_TOKENS)), targets, 1, 0, console)
    found: dict[str, list[dict[str, Any]]] = {mode: [] for mode in modes}
    for number in range(runs):
        for place, (mode, load) in enumerate(loads.items()):
            seed, label = number + SEEDS_APART * place, f"{mode} {number + 1}/{runs}"
            if pid is None:
                found[mode].append(asdict((await run_load(load, targets, seed, console, label)).summary))
                continue
            with watched(pid) as usage:
                run = await run_load(load, targets, seed, console, label)
            found[mode].append({**asdict(run.summary), "usage": asdict(usage)})
    return found


def add_bounds(modes: Mapping[str, dict[str, Any]], served: Served, concurrency: int, prompt: int, output: int) -> None:
    """Note in each mode the bound of its decode step in the middle of the answers, and the share of it that the
    steady rate reaches."""
    for name, mode in modes.items():
        step = served.decode(concurrency, prompt + output / 2, {"base": 0, "one": 1}.get(name, concurrency))
        mode["bound_ms"], mode["staged_bound_ms"] = round(step.ms, 3), round(step.staged_ms, 3)
        steady = mode["median"]["steady_decode_tok_s"]
        mode["of_bound"] = None if steady is None else round(step.reached(concurrency / steady * 1e3), 4)
