"""What is going on, while it does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loraplex_server.batch.tally import Tally
from loraplex_server.tasks import beside

INTERVAL_S = 0.5
# Where there is no terminal, a line now and then is what a log can use.
LINE_EVERY_S = 60.0


class Pace:
    """How fast a batch goes since it began. Args: tally: of all its answers, older ones included."""

    def __init__(self, tally: Tally, total: int) -> None:
        self._tally = tally
        self._done_before = tally.done
        self._tokens_before = tally.output_tokens
        self._began = time.monotonic()
        self._total = total

    def __str__(self) -> str:
        elapsed = max(time.monotonic() - self._began, 1e-6)
        done = self._tally.done - self._done_before
        rate = (self._tally.output_tokens - self._tokens_before) / elapsed
        left = max(self._total - self._tally.done, 0) * elapsed / done if done else None
        parts = [f"{self._tally.failed} failed", f"{rate:.0f} tok/s"]
        if left is not None:
            parts.append(f"{_clock(left)} left")
        return ", ".join(parts)


@contextlib.asynccontextmanager
async def shown(console: Console, tally: Tally, total: int) -> AsyncIterator[None]:
    """A bar while the block runs, or lines where there is no terminal."""
    pace = Pace(tally, total)
    with _bar(console, total) if console.is_terminal else contextlib.nullcontext() as bar:
        async with beside(_watch(console, bar, tally, total, pace)):
            yield


def _bar(console: Console, total: int) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    bar = Progress(*columns, console=console, auto_refresh=False, transient=True)
    bar.add_task("", total=total, note="")
    return bar


async def _watch(console: Console, bar: Progress | None, tally: Tally, total: int, pace: Pace) -> None:
    while True:
        if bar is None:
            await asyncio.sleep(LINE_EVERY_S)
            console.print(f"{tally.done} of {total} done, {pace}", markup=False, highlight=False)
        else:
            bar.update(bar.task_ids[0], completed=tally.done, note=str(pace))
            bar.refresh()
            await asyncio.sleep(INTERVAL_S)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
