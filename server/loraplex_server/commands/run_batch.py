"""`loraplex run-batch`: a file of requests to a file of answers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence

from rich.console import Console

from loraplex_server.batch.arguments import read_arguments
from loraplex_server.batch.options import BatchOptions
from loraplex_server.logs.begin import begin_log
from loraplex_server.settings import ServeSettings
from loraplex_server.torch_free import hide_torch

FAILED = 1
INTERRUPTED = 130


def run_batch(arguments: Sequence[str]) -> int:
    """0 where every request has a good answer, 1 where one has not, 130 where the run was broken off.

    Raises:
        SettingsError: an argument is bad or missing.
        CommandError: a file cannot be read or written.
        StartError: the engine cannot start.
    """
    options = read_arguments(arguments)
    if isinstance(options.server, ServeSettings):
        begin_log(options.server)
    hide_torch()
    return asyncio.run(_until_signal(options, Console(stderr=True)))


async def _until_signal(options: BatchOptions, console: Console) -> int:
    from loraplex_server.batch.job import Job  # with transformers, which takes seconds to import

    work = asyncio.create_task(Job(options, console).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    try:
        return 0 if await work else FAILED
    except asyncio.CancelledError:
        console.print("broken off; the same command goes on from here", style="yellow")
        return INTERRUPTED
