"""The engine without processes and without HTTP, given a load's requests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from loraplex_server.bench.engine.drive import Drive
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.summary import summarize
from loraplex_server.bench.load.workload import Planned
from loraplex_server.engine.build import build_engine
from loraplex_server.engine.core import EngineCore
from loraplex_server.settings import load_settings
from loraplex_server.settings.parser import CommandLine
from serving.launch import ENGINE, FORMAT_ARGUMENTS


def engine_alone(model: Path, form: str, concurrency: int) -> EngineCore:
    """Built in this process as `serving.launch.LORAPLEX` has it built in its own."""
    told = ENGINE.format(format=FORMAT_ARGUMENTS[form], concurrency=concurrency).split()
    settings = load_settings(CommandLine("engine", "The engine alone."), [str(model), *told])
    return build_engine(settings.engine_config(), wake=lambda: None)[0]


def run_alone(core: EngineCore, planned: Sequence[Planned]) -> dict[str, float | None]:
    """Submit all requests, which are for the base, at once and step until the last has ended.

    Returns: `output_tok_s`, `steady_decode_tok_s` and `engine_cpu_s_per_1000`, processor seconds for 1000 tokens.

    Raises:
        RuntimeError: a request failed.
    """
    cpu = time.process_time()
    traces = Drive(core, (), Event()).run(planned, len(planned))
    cpu = time.process_time() - cpu
    found = summarize(traces, LoadOptions(requests=len(planned), concurrency=len(planned)))
    if found.ok < len(planned):
        raise RuntimeError(f"{len(planned) - found.ok} requests failed: {found.error_example}")
    return {
        "output_tok_s": found.output_tok_s,
        "steady_decode_tok_s": found.steady_decode_tok_s,
        "engine_cpu_s_per_1000": cpu / found.output_tokens * 1000,
    }
