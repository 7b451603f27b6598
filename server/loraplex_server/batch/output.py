"""The two files of a batch: good answers, and the others."""

from __future__ import annotations

import asyncio
import time

from loraplex_server.batch.answer import Answer
from loraplex_server.batch.answer_file import AnswerFile
from loraplex_server.batch.seen import Seen
from loraplex_server.batch.state.batches import StoredBatch
from loraplex_server.batch.state.database import Statement
from loraplex_server.batch.state.files import Files, StoredFile
from loraplex_server.batch.state.space import LEAST
from loraplex_server.batch.tally import Tally

PURPOSE = "batch_output"


class Output:
    """Args: batch: whose answers. files: among which theirs will be. seen: told of each answer.

    Raises:
        AnswerFileError: they cannot be written.
    """

    def __init__(self, batch: StoredBatch, files: Files, seen: Seen) -> None:
        self._batch = batch
        self._files = files
        self._seen = seen
        self.tally = Tally()
        self._padding = 0  # bytes that files take beyond their own
        self._good = AnswerFile(files.path(batch.output_id), self._kept, files.space)
        try:
            self._bad = AnswerFile(files.path(batch.error_id), self._kept, files.space)
        except BaseException:
            self._good.let_go()
            raise

    async def recover(self) -> None:
        """What was answered before. Raises AnswerFileError."""
        await asyncio.to_thread(self._recover)

    def _recover(self) -> None:
        for file in (self._good, self._bad):
            for answer in file.recover():
                self._kept(answer)

    def _kept(self, answer: Answer) -> None:
        self.tally.add(answer)
        self._seen.note(answer)

    async def put(self, answer: Answer) -> None:
        """Returns when it is on the disk. Raises OSError."""
        await (self._good if answer.ok else self._bad).put(answer)

    async def settle(self) -> None:
        """Until what was put is in the files, whoever waits for it."""
        await asyncio.gather(self._good.settle(), self._bad.settle())

    def give_back(self) -> None:
        """After close, where the batch has not ended: whoever goes on with it counts its files anew."""
        self._files.space.give(self._good.size + self._bad.size + self._padding)

    async def close(self) -> None:
        """Write what was put, and let go of the files."""
        await asyncio.gather(self._good.close(), self._bad.close())

    def finished(self) -> tuple[dict[str, str], list[Statement]]:
        """After close: the batch's fields with the files' ids, and what makes them known; empty ones are removed."""
        fields, statements = {}, []
        batch, now = self._batch, int(time.time())
        for kind, id, size in (("output", batch.output_id, self._good.size), ("error", batch.error_id, self._bad.size)):
            if not size:
                self._files.path(id).unlink(missing_ok=True)
                continue
            padding = max(LEAST - size, 0)
            self._files.space.hold(padding)
            self._padding += padding
            name, expires = f"{batch.id}_{kind}.jsonl", now + batch.output_lifetime_s
            statements.append(self._files.adding(StoredFile(id, batch.tenant, name, PURPOSE, size, now, expires)))
            fields[f"{kind}_file_id"] = id
        return fields, statements
