"""One server's rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from serving.about import portable
from serving.inputs import Inputs, token_ids
from serving.process import Running, free_port, running
from serving.tax import SEEDS_APART
from serving.usage import peak_rss_mb, watched

from contest.answers import different_answers
from contest.contender import Contender, ContestError, Start
from contest.rows import ROWS, Row
from loraplex_server.bench.limits.model import model_shape
from loraplex_server.bench.load.medians import medians, spread
from loraplex_server.bench.load.runs import run_load, warm_up
from loraplex_server.bench.load.targets import Targets, find_targets

ADAPTERS = 32
# A peer imports a compiler's worth of packages before it reads the model.
START_S = 900.0

Found = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Task:
    """Args: inputs: the model and its adapters. runs: of each row. seed: of the first run. console: for progress."""

    inputs: Inputs
    runs: int
    seed: int
    console: Console

    @property
    def token_ids(self) -> tuple[int, int]:
        """Ids that prompts are drawn from."""
        return token_ids(model_shape(self.inputs.model).vocabulary)


async def measure(contender: Contender, task: Task, rows: Sequence[str], found: Found) -> None:
    """Start the server as often as these rows need, and measure each; `found` gets a row's result as it is there.

    Raises:
        ContestError: the server ignores adapters, or a row got no whole answer.
        ServerError: it does not start.
        TargetsError: it does not say what it serves.
    """
    chosen = {name: ROWS[name] for name in rows}
    port = free_port()
    for start in contender.starts(task.inputs, chosen, port):
        task.console.print(" ".join(start.command), markup=False, style="dim", soft_wrap=True)
        with TemporaryDirectory() as folder, _running(start, port, Path(folder) / "log") as server:
            contender.started(server)
            targets = _targets(contender, server)
            answers = different_answers(contender, targets, task.token_ids[0])
            about = {"command": portable(start.command), "answers": answers}
            for name in start.rows:
                result = await _row(contender, task, targets, chosen[name], name, server)
                found(name, {**about, **result})


def _running(start: Start, port: int, log: Path) -> Any:
    return running(start.command, port, log, START_S, environment=start.environment, ready=start.ready)


def _targets(contender: Contender, server: Running) -> Targets:
    if contender.names_adapters:
        return find_targets(server.url, at_most=ADAPTERS)
    listed = find_targets(server.url)
    return Targets(listed.url, listed.base, tuple(f"adapter-{index:03}" for index in range(ADAPTERS)))


async def _row(
    contender: Contender, task: Task, targets: Targets, row: Row, name: str, server: Running
) -> dict[str, Any]:
    options = row.options(task.token_ids, contender.extra)
    place = SEEDS_APART * (1 + list(ROWS).index(name))
    await warm_up(row.warmup(task.token_ids, contender.extra), targets, 1, task.seed + place, task.console)
    runs: list[dict[str, Any]] = []
    for number in range(task.runs):
        if server.pid is None:
            raise ContestError(f"{contender.label} has no process to watch")
        label = f"{contender.label}, {row.title} {number + 1}/{task.runs}"
        with watched(server.pid) as usage:
            run = await run_load(options, targets, task.seed + place + number, task.console, label)
        summary = {**asdict(run.summary), "usage": asdict(usage)}
        if run.summary.ok < run.summary.requests:
            raise ContestError(f"{label}: {run.summary.errors}: {run.summary.error_example}")
        runs.append(summary)
    return {**_result(row, runs), "peak_rss_mb": peak_rss_mb(server.pid) if server.pid is not None else {}}


def _result(row: Row, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    middle = medians(runs)
    figures = [figure for run in runs if (figure := row.figure(run)) is not None]
    return {
        "figure": row.figure(middle),
        "steady_decode_tok_s": middle["steady_decode_tok_s"],
        "spread": spread(figures),
        "others_cores": max(run["usage"]["others"] for run in runs),
        "median": middle,
        "runs": list(runs),
    }
