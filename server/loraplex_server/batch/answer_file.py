"""A file of answers, each on the disk before it counts."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from loraplex_server.batch.answer import Answer, decode, encode
from loraplex_server.batch.state.space import Space


class AnswerFileError(Exception):
    """The file cannot be written to, or holds something else."""


class AnswerFile:
    """Appends to what is there.

    Args:
        path: of the file; made where it is missing.
        kept: called on the event loop with each answer that has reached the disk.
        space: that its bytes take; None: there is no limit.

    Raises:
        AnswerFileError: it cannot be opened, is no regular file, or somebody else writes it.
    """

    def __init__(self, path: Path, kept: Callable[[Answer], None], space: Space | None = None) -> None:
        self._path = path
        self._kept = kept
        self._space = space
        self._pending: list[tuple[Answer, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        try:
            # Not to be kept waiting by a pipe that nobody has opened at its other end.
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise AnswerFileError(f"{path} cannot be written: {error.strerror}") from error
        # What was answered is read first, and of a pipe, a terminal or /dev/full that has no end.
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.close(self._descriptor)
            raise AnswerFileError(f"{path} is no regular file: answers are looked for there, and added to them")
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise AnswerFileError(f"{path} is being written by another run") from error
        self.size = 0  # bytes of whole lines

    def recover(self) -> Iterator[Answer]:
        """What was written before; in the end, a last line that was broken off is cut off. To be exhausted before put.

        Raises:
            AnswerFileError: what is there are no answers; it is left as it is.
        """
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            for number, data in enumerate(file, 1):
                if not data.endswith(b"\n"):
                    break
                try:
                    yield decode(data)
                except ValueError as error:
                    raise AnswerFileError(f"line {number} of {self._path} is no answer of a batch: {error}") from None
                if self._space is not None:
                    self._space.hold(len(data))
                self.size += len(data)
        os.ftruncate(self._descriptor, self.size)
        os.lseek(self._descriptor, self.size, os.SEEK_SET)

    @property
    def has_torn_line(self) -> bool:
        """Whether the last line was broken off; recover cuts it off."""
        size = os.fstat(self._descriptor).st_size
        return bool(size) and os.pread(self._descriptor, 1, size - 1) != b"\n"

    async def put(self, answer: Answer) -> None:
        """Returns when the answer is on the disk. What is put meanwhile goes there together.

        Raises:
            OSError: it cannot be written; nothing of it is left in the file.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((answer, written))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        await written

    async def settle(self) -> None:
        """Until all that was put is written and counted, or failed, though nobody waits for it any more."""
        if self._writing is not None:
            await asyncio.shield(self._writing)

    async def close(self) -> None:
        """Write what was put, and let go of the file."""
        try:
            await self.settle()
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Let others have it; nothing may be on its way there."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    async def _write_all(self) -> None:
        """A task of its own: whoever is cancelled while it waits, what was put is written and counted."""
        while self._pending:
            pending, self._pending = self._pending, []
            data = b"".join([encode(answer) + b"\n" for answer, _ in pending])
            try:
                await asyncio.to_thread(self._append, data)
            except OSError as error:
                for _, written in pending:
                    if not written.done():
                        written.set_exception(error)
                continue
            for answer, written in pending:
                self._kept(answer)
                if not written.done():
                    written.set_result(None)

    def _append(self, data: bytes) -> None:
        if self._space is not None:
            self._space.take(len(data))
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
            if self._space is not None:
                self._space.give(len(data))
            raise
        self.size += len(data)
