"""Warm-up and runs against one server."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, replace

from rich.console import Console

from loraplex_server.bench.load.drive import closed_loop, open_loop
from loraplex_server.bench.load.exchange import Sender
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.progress import shown
from loraplex_server.bench.load.summary import RunSummary, summarize
from loraplex_server.bench.load.targets import Targets
from loraplex_server.bench.load.trace import Trace
from loraplex_server.bench.load.workload import plan

# Far from every run's own seed, so that no prompt of the warm-up is one of theirs.
WARMUP_SEED = 1_000_003


@dataclass(frozen=True)
class Run:
    """One run's figures, and the traces that they were computed from."""

    seed: int
    summary: RunSummary
    traces: list[Trace]


async def run_load(options: LoadOptions, targets: Targets, seed: int, console: Console, label: str = "run") -> Run:
    """Make the load once.

    Raises:
        ValueError: the popularity needs more adapters than there are.
    """
    planned = plan(options, targets, seed)
    sender = Sender(targets, options.endpoint, options.timeout_s)
    traces: list[Trace] = []
    # A collection in the middle of a run would stamp tokens late.
    gc.collect()
    gc.freeze()
    cpu = time.process_time()
    async with shown(console, label, len(planned), traces):
        if options.at_once is None:
            await open_loop(planned, sender.send, traces)
        else:
            await closed_loop(planned, options.at_once, sender.send, traces)
    cpu = time.process_time() - cpu
    gc.unfreeze()
    return Run(seed, summarize(traces, options, cpu), traces)


async def warm_up(options: LoadOptions, targets: Targets, waves: int, seed: int, console: Console) -> None:
    """Waves of requests all at once, not reported: code is compiled, weights are paged in, the adapters loaded that
    the first requests of a run name.

    Raises:
        ValueError: the popularity needs more adapters than there are.
    """
    wave = replace(options, requests=options.wave, concurrency=options.wave, rate=None)
    for number in range(waves):
        await run_load(wave, targets, WARMUP_SEED + seed + number, console, f"warm-up {number + 1}/{waves}")
