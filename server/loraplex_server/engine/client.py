"""The engine as the API sees it: requests in, deltas out, whatever happens to the process behind it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable

from loraplex_adapters.source import AdapterSource
from loraplex_server.engine.child import EngineChild
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.errors import EngineStartError
from loraplex_server.engine.interface import (
    AdapterUnusableError,
    DeadlineExceededError,
    EngineDeadError,
    EngineError,
    InvalidRequestError,
    PreparedAdapter,
)
from loraplex_server.engine.messages import (
    AbortRequest,
    AdapterPrepared,
    Delta,
    Deltas,
    EngineFailed,
    EngineInfo,
    EngineStats,
    Failed,
    FromEngine,
    GenerateRequest,
    PrepareAdapter,
    ToEngine,
    UnpinAdapter,
)
from loraplex_server.engine.room import Room
from loraplex_server.engine.silence import Silence
from loraplex_server.tasks import cancel

logger = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
# An engine that lived this long was a good one: its death starts the backoff anew.
GOOD_LIFE_S = 60.0
# Between looks whether the engine has said something: it does so after each step, and four times a second without one.
LOOK_S = 1.0

_ERRORS: dict[str, type[EngineError]] = {
    "adapter": AdapterUnusableError,
    "invalid": InvalidRequestError,
    "engine": EngineDeadError,
    "deadline": DeadlineExceededError,
}


class EngineClient:
    """Starts the engine process, starts it again when it dies, and routes its words to the requests in flight.

    Args:
        config: of the engine.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._child: EngineChild | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._streams: dict[str, asyncio.Queue[Delta | EngineError]] = {}
        self._preparing: dict[str, asyncio.Future[PreparedAdapter]] = {}
        self._room = Room(config.max_num_seqs, config.max_queued_requests, config.max_queued_per_tenant)
        self._ready = asyncio.Event()
        self._start_error: str | None = None
        self._info: EngineInfo | None = None
        self._stats = EngineStats()
        self._told: Callable[[EngineInfo | None, EngineStats], None] = lambda info, stats: None
        self._restarts = 0

    @property
    def info(self) -> EngineInfo | None:
        """Facts of the engine, None until it was ready for the first time."""
        return self._info

    @property
    def stats(self) -> EngineStats:
        """The latest word of the engine."""
        return self._stats

    @property
    def healthy(self) -> bool:
        """The engine process lives and is ready for requests."""
        return self._ready.is_set()

    @property
    def restarts(self) -> int:
        """How often the engine process was started again, whether it got ready or not."""
        return self._restarts

    async def start(self) -> EngineInfo:
        """Start the engine and wait until it is ready.

        Raises:
            EngineStartError: it cannot start as configured.
        """
        self._supervisor = asyncio.create_task(self._supervise())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._supervisor}, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.is_set():
            ready.cancel()
            await self._supervisor
            raise EngineStartError(self._start_error or "the engine process ended before it was ready")
        if self._info is None:
            raise EngineStartError("the engine said that it is ready, but not what it is")
        return self._info

    async def close(self) -> None:
        """End the engine; requests in flight end with EngineDeadError."""
        if self._supervisor is not None:
            await cancel(self._supervisor)

    def tell(self, heard: Callable[[EngineInfo | None, EngineStats], None]) -> None:
        """See Engine.tell."""
        self._told = heard
        self._told(self._info, self._stats)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """See Engine.generate."""
        child = self._living()
        self._room.enter(request)
        queue: asyncio.Queue[Delta | EngineError] = asyncio.Queue()
        self._streams[request.request_id] = queue
        left = request.n
        try:
            _send(child, request)
            while left:
                item = await queue.get()
                if isinstance(item, EngineError):
                    left = 0
                    raise item
                left -= item.finish_reason is not None
                yield item
        finally:
            self._room.leave(request)
            del self._streams[request.request_id]
            if left and child is self._child:
                with contextlib.suppress(EngineDeadError):  # then there is nothing to abort
                    _send(child, AbortRequest(request.request_id))

    async def abort(self, request_id: str, index: int) -> None:
        """See Engine.abort."""
        if self._child is not None and request_id in self._streams:
            with contextlib.suppress(EngineDeadError):  # the request ends with that error anyway
                _send(self._child, AbortRequest(request_id, index))

    async def prepare(self, source: AdapterSource, *, pin: bool) -> PreparedAdapter:
        """See Engine.prepare."""
        child = self._living()
        request_id = uuid.uuid4().hex
        prepared: asyncio.Future[PreparedAdapter] = asyncio.get_running_loop().create_future()
        self._preparing[request_id] = prepared
        try:
            _send(child, PrepareAdapter(request_id=request_id, source=source, pin=pin))
            return await prepared
        finally:
            del self._preparing[request_id]

    async def unpin(self, name: str) -> None:
        """See Engine.unpin."""
        if self._child is not None and self.healthy:
            with contextlib.suppress(EngineDeadError):  # its pins are gone with it
                _send(self._child, UnpinAdapter(name))

    def _living(self) -> EngineChild:
        if self._child is None or not self.healthy:
            raise EngineDeadError("the engine is being restarted; try again in a moment")
        return self._child

    async def _supervise(self) -> None:
        """Keep one engine process alive until cancelled; give up only on one that was never ready."""
        backoff = FIRST_BACKOFF_S
        while True:
            started = time.monotonic()
            reason = await self._live()
            if self._info is None:
                self._start_error = reason  # starting it again would end the same way
                return
            lived = time.monotonic() - started
            backoff = FIRST_BACKOFF_S if lived > GOOD_LIFE_S else min(backoff * 2, LONGEST_BACKOFF_S)
            logger.error("after %.1f s: %s; restart in %.1f s", lived, reason, backoff)
            await asyncio.sleep(backoff)
            self._restarts += 1

    async def _live(self) -> str:
        """One life of the engine process; returns how it ended."""
        child = EngineChild(self._config)
        listener: asyncio.Task[None] | None = None
        still = False
        self._start_error = None
        try:
            await child.start()
            self._child = child
            listener = asyncio.create_task(self._listen(child))
            still = await self._stands_still(child)
        except OSError as error:
            return f"the engine process could not be started: {error}"
        except Exception as error:  # whatever it is, a server without an engine is no server: it is tried again
            logger.exception("the engine process cannot be watched")
            return f"the engine process cannot be watched: {error!r}"
        finally:
            was_ready = self._ready.is_set()
            self._ready.clear()
            self._child = None
            try:
                if listener is not None:
                    await _drain_and_cancel(listener)  # what it said last still counts
            finally:
                self._fail_all("the engine process ended before the request was finished")
                self._take(EngineStats())
                await child.stop(gently=was_ready and not still)
        if still:
            return f"the engine process has said nothing for {self._config.engine_step_timeout:g} s, and was killed"
        return self._start_error or f"the engine process ended with code {await child.wait()}"

    async def _stands_still(self, child: EngineChild) -> bool:
        """Wait until the process has ended by itself; True: it is there, but a step of it, or all of it, hangs."""
        most = self._config.engine_step_timeout / LOOK_S or math.inf
        ended = asyncio.create_task(child.wait())
        silence = Silence(child.heard)
        try:
            while not ended.done():
                await asyncio.wait({ended}, timeout=LOOK_S)
                if silence.look(child.heard) >= most and self.healthy:
                    return True
            return False
        finally:
            await cancel(ended)

    async def _listen(self, child: EngineChild) -> None:
        async for message in child.messages():
            self._take(message)

    def _take(self, message: FromEngine) -> None:
        if isinstance(message, Deltas):
            for delta in message.deltas:
                self._put(delta.request_id, delta)
        elif isinstance(message, EngineStats):
            self._stats = message
            self._told(self._info, message)
        elif isinstance(message, Failed):
            self._fail(message.request_id, _ERRORS[message.kind](message.message))
        elif isinstance(message, AdapterPrepared):
            prepared = self._preparing.get(message.request_id)
            if prepared is not None and not prepared.done():
                prepared.set_result(PreparedAdapter(message.generation, message.nbytes))
        elif isinstance(message, EngineInfo) and self._child is not None:  # None: these are its last words
            self._info = message
            self._ready.set()
        elif isinstance(message, EngineFailed):
            self._start_error = message.message

    def _put(self, request_id: str, item: Delta | EngineError) -> None:
        queue = self._streams.get(request_id)
        if queue is not None:  # None: its client is gone, and the abort is on its way
            queue.put_nowait(item)

    def _fail(self, request_id: str, error: EngineError) -> None:
        prepared = self._preparing.get(request_id)
        if prepared is None:
            self._put(request_id, error)
        elif not prepared.done():
            prepared.set_exception(error)

    def _fail_all(self, reason: str) -> None:
        for request_id in (*self._streams, *self._preparing):
            self._fail(request_id, EngineDeadError(reason))


def _send(child: EngineChild, message: ToEngine) -> None:
    try:
        child.send(message)
    except ConnectionError as error:
        raise EngineDeadError("the engine process has just ended; try again in a moment") from error


async def _drain_and_cancel(listener: asyncio.Task[None]) -> None:
    """Let a listener read what is left in its socket, then end it."""
    await asyncio.wait({listener}, timeout=0.1)
    await cancel(listener)
