"""Warm-up and runs on one engine."""

from __future__ import annotations

import gc
from dataclasses import replace

from rich.console import Console
from rich.progress import track

from loraplex_server.bench.engine.adapters import Adapters
from loraplex_server.bench.engine.drive import Drive
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.runs import WARMUP_SEED, Run
from loraplex_server.bench.load.summary import summarize
from loraplex_server.bench.load.workload import plan


def all_runs(
    drive: Drive, options: LoadOptions, adapters: Adapters, *, runs: int, warmup: int, seed: int, console: Console
) -> list[Run]:
    """`warmup` waves that are not reported, then the runs; run k uses seed + k. A bar of runs only on a terminal.

    Raises:
        ValueError: the popularity needs more adapters than there are.
    """
    wave = replace(options, requests=options.wave, concurrency=options.wave, rate=None)
    for number in range(warmup):
        drive.run(plan(wave, adapters, WARMUP_SEED + seed + number), options.wave)
    # What was imported and built stays for good; a look through all of it would stand in the middle of some step.
    gc.collect()
    gc.freeze()
    numbers = track(range(runs), "runs", console=console, transient=True, disable=not console.is_terminal)
    found = []
    for number in numbers:
        traces = drive.run(plan(options, adapters, seed + number), options.at_once)
        found.append(Run(seed + number, summarize(traces, options), traces))
    gc.unfreeze()
    return found
