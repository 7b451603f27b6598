"""One batch, from wherever it is to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Literal

import msgspec

from loraplex_server.batch.answer import Answer, unanswered
from loraplex_server.batch.answer_file import AnswerFileError
from loraplex_server.batch.line import Line, LineError
from loraplex_server.batch.output import Output
from loraplex_server.batch.pending import pending_lines
from loraplex_server.batch.reader import read_on_thread
from loraplex_server.batch.room import Room
from loraplex_server.batch.run import run_lines
from loraplex_server.batch.seen import Seen
from loraplex_server.batch.state.batches import BatchError, StoredBatch
from loraplex_server.batch.state.database import StateError
from loraplex_server.batch.state.state import State
from loraplex_server.batch.tally import Tally
from loraplex_server.batch.validation import validate

logger = logging.getLogger(__name__)

End = Literal["completed", "failed", "cancelled", "expired"]
AT_ONCE = 256  # lines that are said to be too late
TOO_LATE = "This request could not be answered before the batch expired"


class Execution:
    """`run` is a task's; `cancel` and `expire` cut it short, and cancelling the task leaves the batch as it is.

    Args:
        batch: as it is kept. state: that keeps it. room: that its requests take. ask: answers one.
    """

    def __init__(self, batch: StoredBatch, state: State, room: Room, ask: Callable[[Line], Awaitable[Answer]]) -> None:
        self.batch = batch
        self._state = state
        self._room = room
        self._ask = ask
        self._tally: Tally | None = None
        self._work: asyncio.Task[End] | None = None
        self._end: End | None = None
        self._saving = asyncio.Lock()
        self.cut = asyncio.Event()  # there is nothing left to wait for
        if batch.status == "cancelling":
            self._cut_short("cancelled")

    def view(self) -> dict[str, Any]:
        """As OpenAI's API shows it, now."""
        return self.batch.view(self._tally)

    async def cancel(self) -> bool:
        """Ask no more, and give up what is being asked; False where it is too late for that. Raises StateError."""
        async with self._saving:
            if self.batch.status not in ("validating", "in_progress"):
                return False
            await self._save(self.batch.at("cancelling"))
            self._cut_short("cancelled")
        return True

    def expire(self) -> None:
        """Its time is over."""
        self._cut_short("expired")

    def _cut_short(self, how: End) -> None:
        self._end = self._end or how
        self.cut.set()
        if self._work is not None:
            self._work.cancel()

    async def run(self) -> None:
        """To the end. Raises StateError, OSError or AnswerFileError: it cannot go on at this moment."""
        seen = Seen()
        try:
            output = Output(self.batch, self._state.files, seen)
            try:
                await self._finish(await self._write(output, seen), output)
            except BaseException:
                output.give_back()
                raise
        finally:
            seen.close()

    async def _write(self, output: Output, seen: Seen) -> End:
        """All answers that there will be."""
        try:
            end = await self._until_end(output, seen)
            if end == "expired" and self.batch.in_progress_at is not None:
                await self._answer_late(output, seen)
            return end
        finally:
            await output.close()

    async def _until_end(self, output: Output, seen: Seen) -> End:
        try:
            await output.recover()
        except AnswerFileError as error:
            return self._fail("answers_unreadable", str(error))
        self._tally = output.tally
        if self._end is not None:
            return self._end
        self._work = asyncio.create_task(self._answer_all(output, seen))
        try:
            await asyncio.wait({self._work})
        finally:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await output.settle()  # of what was cut short
        return self._end or self._work.result()

    async def _answer_all(self, output: Output, seen: Seen) -> End:
        try:
            if self.batch.status == "validating" and not await self._validate():
                return "failed"
            await run_lines(pending_lines(self._lines(), seen), self._room, self._ask, output.put)
            return "completed"
        except FileNotFoundError:
            return self._fail("input_file_not_found", "The input file is gone")
        except OSError as error:
            return self._fail("disk_full", f"An answer cannot be kept: {error.strerror or error}")
        except StateError:
            raise  # how far it has come cannot be kept at this moment
        except Exception:
            logger.exception("batch %s failed", self.batch.id)
            return self._fail("internal_error", "The batch failed; the server's log says why")

    async def _validate(self) -> bool:
        limits, seen = self._state.limits, Seen()
        try:
            found = await validate(self._lines(), self.batch.endpoint, limits.lines, seen)
        finally:
            seen.close()
        if found.errors:
            self._note(errors=found.errors, total=found.total)
            return False
        async with self._saving:
            if self._end is None:
                await self._save(self.batch.at("in_progress", total=found.total, model=found.model))
        return True

    async def _answer_late(self, output: Output, seen: Seen) -> None:
        """Say of each request that has no answer that it came too late."""
        seen.meet_anew()
        waiting: list[Awaitable[None]] = []
        try:
            async for line in pending_lines(self._lines(), seen):
                if isinstance(line, Line):
                    waiting.append(output.put(unanswered(line.custom_id, "batch_expired", TOO_LATE)))
                if len(waiting) == AT_ONCE:
                    await asyncio.gather(*waiting)
                    waiting.clear()
            await asyncio.gather(*waiting)
        except OSError as error:
            self._fail("disk_full", f"An answer cannot be kept: {error.strerror or error}")

    async def _finish(self, end: End, output: Output) -> None:
        async with self._saving:
            if end == "completed":
                await self._save(self.batch.at("finalizing"))
            fields, statements = await asyncio.to_thread(output.finished)
            done = self.batch.at(end, tally=output.tally, **fields)
            await asyncio.to_thread(self._state.batches.save, done, *statements)
            self.batch = done
        logger.info("batch %s %s: %s", done.id, end, done.view()["request_counts"])

    def _lines(self) -> AsyncGenerator[Line | LineError, None]:
        return read_on_thread(self._state.files.path(self.batch.input_file_id), self._state.limits.line_size)

    def _fail(self, code: str, message: str) -> End:
        logger.error("batch %s: %s", self.batch.id, message)
        self._note(errors=(*self.batch.errors, BatchError(code, message)))
        return "failed"

    def _note(self, **changes: Any) -> None:
        self.batch = msgspec.structs.replace(self.batch, **changes)

    async def _save(self, batch: StoredBatch) -> None:
        """Whoever is cancelled meanwhile: what is on its way to the disk arrives before anything else is sent there."""
        writing = asyncio.ensure_future(asyncio.to_thread(self._state.batches.save, batch))
        try:
            await asyncio.shield(writing)
        finally:
            await asyncio.wait({writing})
        self.batch = batch
