"""What is going on, while it does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loraplex_server.bench.load.trace import Trace
from loraplex_server.tasks import beside

# Twice a second is live to the eye and nothing to the processor that the server needs.
INTERVAL_S = 0.5


@contextlib.asynccontextmanager
async def shown(console: Console, label: str, total: int, traces: Sequence[Trace]) -> AsyncIterator[None]:
    """A bar of the requests that have ended, and the tokens so far, while the block runs; only on a terminal."""
    if not console.is_terminal:
        yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task(label, total=total, note="")

        async def watch() -> None:
            while True:
                ended = sum(trace.finished is not None or trace.error is not None for trace in traces)
                failed = sum(trace.error is not None for trace in traces)
                events = sum(len(trace.times) for trace in traces)
                note = f"{len(traces) - ended} in flight, {events} events" + (f", {failed} failed" if failed else "")
                bar.update(task, completed=ended, note=note)
                bar.refresh()
                await asyncio.sleep(INTERVAL_S)

        async with beside(watch()):
            yield
