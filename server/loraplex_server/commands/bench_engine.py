"""`loraplex bench engine`: the load generator's requests on an engine in this process."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from threading import Event

from rich.console import Console

from loraplex_server.api.rendering.renderer import RendererError, load_renderer
from loraplex_server.bench.engine.adapters import Adapters, find_adapters
from loraplex_server.bench.engine.drive import Drive
from loraplex_server.bench.engine.fractions import Fractions, fractions, served_as, typical
from loraplex_server.bench.engine.runs import all_runs
from loraplex_server.bench.engine.settings import read_settings
from loraplex_server.bench.limits.machine import measure
from loraplex_server.bench.limits.model import model_shape
from loraplex_server.bench.limits.rates import Rates
from loraplex_server.bench.load.arguments import load_options
from loraplex_server.bench.load.lines import Lines, broken_off
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.plot import PlotError
from loraplex_server.bench.load.table import report_console
from loraplex_server.commands.error import CommandError
from loraplex_server.engine.build import build_engine
from loraplex_server.engine.cores import usable_cores
from loraplex_server.engine.errors import EngineStartError
from loraplex_server.engine.messages import EngineInfo
from loraplex_server.logs.configure import configure_logging
from loraplex_server.models.errors import ModelError
from loraplex_server.models.folder import model_folder
from loraplex_server.settings import ServeSettings

PROG = "loraplex bench engine"
# Bounds need the rates to a few percent, and no matrix that takes a slow machine a minute.
MEASURE_SCALE = 0.5


def bench_engine(arguments: Sequence[str]) -> int:
    """0; 1 where a run had no whole answer at all.

    Raises:
        SettingsError: a setting is unknown or bad.
        CommandError: the engine cannot be built, or the load not made on it.
    """
    given, settings = read_settings(PROG, arguments)
    configure_logging(settings.log_level, settings.log_format)
    try:
        return _measured(given, settings, report_console())
    except (ValueError, PlotError, EngineStartError, ModelError, RendererError) as error:
        raise CommandError(str(error)) from error
    except (MemoryError, OverflowError, OSError) as error:
        raise CommandError(broken_off(error)) from error


def _measured(given: argparse.Namespace, settings: ServeSettings, console: Console) -> int:
    options = load_options(given)
    lines = Lines(given.label, given.out, given.plot)
    adapters = find_adapters(settings.base_names[0], settings.adapters, given.num_adapters)
    ends = () if options.ignore_eos else load_renderer(settings.model).end_tokens
    # Before there is an engine, whose threads would be in the way.
    roofline = not given.no_roofline and settings.device != "cuda"
    rates = measure(settings.threads or usable_cores(), MEASURE_SCALE).best if roofline else None
    woken = Event()
    core, info = build_engine(settings.engine_config(), woken.set)
    try:
        if options.token_ids[1] > info.vocab_size:
            raise ValueError(f"--token-ids: {options.token_ids[1]} is beyond the model's {info.vocab_size} tokens")
        drive = Drive(core, adapters.sources, woken, ends)
        repeat = {"runs": given.runs, "warmup": given.warmup, "seed": given.seed}
        lines.head("engine", {"info": info, "adapters": len(adapters.adapters), **repeat, "options": asdict(options)})
        for run in all_runs(drive, options, adapters, console=console, **repeat):
            lines.add(run)
    finally:
        core.close()
        title = f"{options.requests} requests to {info.model}, {info.dtype}, quantization {info.quantization}"
        lines.report(given.label or title, console)
    if rates is not None:
        head = settings.head_quantization
        _roofline(lines, console, rates, info, head, adapters, options)
    return 0 if all(run.summary.ok for run in lines.runs) else 1


def _roofline(
    lines: Lines,
    console: Console,
    rates: Rates,
    info: EngineInfo,
    head: str,
    adapters: Adapters,
    options: LoadOptions,
) -> None:
    """The line, and the words, about what share of the bound was reached."""
    try:
        shape = model_shape(model_folder(info.model, weights=False))
        served = served_as(info, shape, rates, adapters.rank, head)
    except ValueError as error:
        console.print(f"no roofline: {error}", style="yellow", markup=False)
        return
    each = [fractions(served, options, run.summary, len(adapters.adapters)) for run in lines.runs]
    reached: Fractions = typical(each)
    lines.write("roofline", {"rates": asdict(rates), **asdict(reached)})
    console.print(str(reached) or "no roofline: only a closed loop has one", markup=False)
