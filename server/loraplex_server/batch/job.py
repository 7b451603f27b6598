"""One run over one file: what is there already, what is left, and how it went."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import httpx
from rich.console import Console

from loraplex_server.api.process.own_server import own_server
from loraplex_server.batch.answer_file import AnswerFile, AnswerFileError
from loraplex_server.batch.arguments import CONCURRENCY
from loraplex_server.batch.asker import Asker
from loraplex_server.batch.line import Line, LineError
from loraplex_server.batch.options import BatchOptions, Remote
from loraplex_server.batch.pending import pending_lines
from loraplex_server.batch.progress import shown
from loraplex_server.batch.reader import count_lines, read_on_thread
from loraplex_server.batch.room import Room
from loraplex_server.batch.run import run_lines
from loraplex_server.batch.seen import Seen
from loraplex_server.batch.tally import Tally
from loraplex_server.commands.error import CommandError
from loraplex_server.settings import ServeSettings

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 3600.0
OVERHEAD = 1 << 16  # bytes of a line beside its body
REMOTE_LONGEST = 64 << 20  # bytes of a line for a server whose limits are not known


class Job:
    """Args: options: what is asked for. console: told how it goes."""

    def __init__(self, options: BatchOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._tally = Tally()
        self._seen = Seen()
        limit = options.server.max_body_size if isinstance(options.server, ServeSettings) else REMOTE_LONGEST
        self._longest = limit + OVERHEAD

    async def run(self) -> bool:
        """Whether every request of the file has a good answer in the end.

        Raises:
            CommandError: a file cannot be read or written.
            StartError: the engine cannot start.
        """
        try:
            self._check_files()
            counting = asyncio.create_task(asyncio.to_thread(count_lines, self._options.source))
            answers = AnswerFile(self._options.target, self._tally.add)
            try:
                await asyncio.to_thread(self._look_back, answers)
                total = await counting
                await self._work(answers, total)
            finally:
                await answers.close()
        except AnswerFileError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.filename or self._options.target}: {error.strerror or error}") from error
        finally:
            self._seen.close()
        return not self._tally.failed and self._tally.done >= total

    def _check_files(self) -> None:
        source, target = self._options.source, self._options.target
        if not stat.S_ISREG(source.stat().st_mode):
            raise CommandError(f"{source} is no regular file: IN is read more than once, so put it into one")
        if target.exists() and os.path.samefile(source, target):
            raise CommandError("IN and OUT are the same file")

    def _look_back(self, answers: AnswerFile) -> None:
        torn = answers.has_torn_line
        for answer in answers.recover():
            self._tally.add(answer)
            self._seen.note(answer)
        if torn:
            self._say("the last line of OUT was broken off, and is cut off")
        if self._tally.done:
            self._say(f"{self._tally.done} answers are in OUT already ({self._tally.failed} failed)")

    async def _work(self, answers: AnswerFile, total: int) -> None:
        lines = pending_lines(read_on_thread(self._options.source, self._longest), self._seen)
        async with aclosing(lines):
            first = await anext(lines, None)
            if first is None:
                self._say(f"nothing is left to do: {self._summary(total)}")
                return
            async with self._server() as (asker, room), shown(self._console, self._tally, total):
                await run_lines(_with_first(first, lines), room, asker.ask_or_stop, answers.put)
        self._say(self._summary(total))

    @contextlib.asynccontextmanager
    async def _server(self) -> AsyncIterator[tuple[Asker, Room]]:
        server, wanted = self._options.server, self._options.concurrency
        if isinstance(server, Remote):
            async with _remote_client(server, wanted or CONCURRENCY) as client:
                asker = Asker(client)
                await asker.greet()
                yield asker, Room(lambda: wanted or CONCURRENCY)
            return
        async with own_server(server) as (client, info):
            # A few wait in the engine's queue, so that no seat is empty while the next request is read.
            seats = wanted or info.max_num_seqs + min(max(info.max_num_seqs // 8, 1), server.max_queued_requests)
            yield Asker(client), Room(lambda: seats)

    def _summary(self, total: int) -> str:
        tally = self._tally
        tokens = f"{tally.input_tokens} tokens in, {tally.output_tokens} out"
        return f"{tally.done} of {total} done, {tally.failed} failed; {tokens}"

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)


def _remote_client(server: Remote, connections: int) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {server.key}"} if server.key else {}
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=None)
    try:
        return httpx.AsyncClient(base_url=server.url, headers=headers, limits=limits, timeout=timeout)
    except (httpx.InvalidURL, ValueError) as error:
        raise CommandError(f"{server.url!r} is no URL: {error}") from error


async def _with_first(
    first: Line | LineError, rest: AsyncGenerator[Line | LineError, None]
) -> AsyncGenerator[Line | LineError, None]:
    yield first
    async for line in rest:
        yield line
