"""Warm-up and runs on one engine."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

from rich.console import Console

from loraplex_server.bench.engine.adapters import Adapters
from loraplex_server.bench.engine.drive import Drive
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.runs import WARMUP_SEED, Run
from loraplex_server.bench.load.summary import summarize
from loraplex_server.bench.load.workload import plan


def all_runs(
    drive: Drive, options: LoadOptions, adapters: Adapters, *, runs: int, warmup: int, seed: int, console: Console
) -> Iterator[Run]:
    """`warmup` waves that are not reported, then the runs, each as it ends; run k uses seed + k.

    Raises:
        ValueError: the popularity needs more adapters than there are.
    """
    wave = replace(options, requests=options.wave, concurrency=options.wave, rate=None)
    for number in range(warmup):
        drive.run(plan(wave, adapters, WARMUP_SEED + seed + number), options.wave)
    # What was imported and built stays for good; a look through all of it would stand in the middle of some step.
    gc.collect()
    gc.freeze()
    try:
        for number in range(runs):
            note = console.status(f"run {number + 1}/{runs}") if console.is_terminal else nullcontext()
            with note:  # over before the run's line is written, which it would take for its own terminal's
                traces = drive.run(plan(options, adapters, seed + number), options.at_once)
            yield Run(seed + number, summarize(traces, options), traces)
    finally:
        gc.unfreeze()
