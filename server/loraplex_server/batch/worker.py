"""All batches of a server, worked on behind everything else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from loraplex_server.batch.answer import Answer
from loraplex_server.batch.answer_file import AnswerFileError
from loraplex_server.batch.execution import Execution
from loraplex_server.batch.line import Line
from loraplex_server.batch.room import Room
from loraplex_server.batch.state.batches import UNFINISHED, StoredBatch
from loraplex_server.batch.state.database import StateError
from loraplex_server.batch.state.files import LIFETIME_S
from loraplex_server.batch.state.state import State

logger = logging.getLogger(__name__)

T = TypeVar("T")

TICK_S = 0.1
RETRY_S = 10.0
TIDY_EVERY_S = 60.0
AT_ONCE = 2  # of one tenant; more would only make each slower


class Worker:
    """Args: state: that keeps them. room: for their requests. asks: in a batch's name. draining: whether to end."""

    def __init__(
        self,
        state: State,
        room: Room,
        asks: Callable[[StoredBatch], Callable[[Line], Awaitable[Answer]]],
        draining: Callable[[], bool],
    ) -> None:
        self._state = state
        self._room = room
        self._asks = asks
        self._draining = draining
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.executions: dict[str, Execution] = {}  # by batch; of those that have not ended

    async def run(self) -> None:
        """Go on with what an earlier process left, then with what comes, until the server ends."""
        try:
            for batch in await self._kept(self._state.batches.unfinished):
                self.begin(batch)
            tidied = 0.0
            while not self._draining():
                for execution in list(self.executions.values()):
                    if time.time() >= execution.batch.expires_at:
                        execution.expire()
                if time.monotonic() - tidied >= TIDY_EVERY_S:
                    tidied = time.monotonic()
                    await asyncio.to_thread(self._tidy, self.inputs())
                await asyncio.sleep(TICK_S)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def begin(self, batch: StoredBatch) -> None:
        """Work on a batch when its turn comes; nothing, where it is being worked on."""
        if batch.id in self.executions:
            return
        execution = Execution(batch, self._state, self._room, self._asks(batch))
        self.executions[batch.id] = execution
        self._tasks[batch.id] = asyncio.create_task(self._execute(execution))

    def inputs(self) -> set[str]:
        """Files that are still needed."""
        return {execution.batch.input_file_id for execution in self.executions.values()}

    async def _execute(self, execution: Execution) -> None:
        batch, turns = execution.batch, self._turns[execution.batch.tenant]
        try:
            has_turn = await _first(turns.acquire(), execution.cut.wait())
            try:
                await execution.run()
            finally:
                if has_turn:
                    turns.release()
        except (StateError, AnswerFileError, OSError) as error:
            logger.error("batch %s stops, and is taken up again in %.0f s: %s", batch.id, RETRY_S, error)
            await self._again(batch)
        except Exception:
            logger.exception("batch %s stops until the next start", batch.id)
        else:
            del self.executions[batch.id]
        finally:
            if self._tasks.get(batch.id) is asyncio.current_task():
                del self._tasks[batch.id]

    async def _again(self, batch: StoredBatch) -> None:
        """Go on from what is kept."""
        await asyncio.sleep(RETRY_S)
        kept = await self._kept(partial(self._state.batches.find, batch.tenant, batch.id))
        del self.executions[batch.id]
        if kept is not None and kept.status in UNFINISHED:
            self.begin(kept)

    async def _kept(self, read: Callable[[], T]) -> T:
        """What is kept, once it can be read."""
        while True:
            try:
                return await asyncio.to_thread(read)
            except StateError as error:
                logger.error("batches wait: %s", error)
            await asyncio.sleep(RETRY_S)

    def _tidy(self, needed: set[str]) -> None:
        try:
            for file in self._state.files.expired():
                if file.id not in needed:
                    self._state.files.remove(file)
            self._state.batches.remove_before(int(time.time()) - LIFETIME_S)
        except (StateError, OSError) as error:
            logger.warning("expired files stay for now: %s", error)


async def _first(wanted: Coroutine[Any, Any, object], other: Coroutine[Any, Any, object]) -> bool:
    """Wait for one of two; whether it was the wanted one. The other does not happen."""
    tasks = [asyncio.ensure_future(each) for each in (wanted, other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return not tasks[0].cancelled()
