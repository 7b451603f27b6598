"""Answers on their way out: whole, or as a stream of events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from loraplex_adapters.errors import AdapterError
from loraplex_server.api.answers.answer import Piece
from loraplex_server.api.answers.departure import ClientGoneError, unless_gone
from loraplex_server.api.answers.generation import Generation, collect
from loraplex_server.api.errors import from_domain, internal_error
from loraplex_server.api.forms.form import Form
from loraplex_server.api.record import RequestRecord, record_of
from loraplex_server.engine.interface import EngineError

logger = logging.getLogger(__name__)

GENERATION_HEADER = "x-loraplex-generation"


async def reply(request: Request, generation: Generation, form: Form, stream: bool) -> Response:
    """The response to a request for answers.

    A stream begins when its first token is there: until then an error still gets its own status.

    Raises:
        EngineError: before anything was sent.
        ClientGoneError: the client did not wait; the engine's work is ended.
    """
    record = record_of(request)
    record.stream = stream
    batches = generation.run()
    if not stream:
        async with aclosing(batches):
            pieces = await unless_gone(request.receive, collect(batches))
        body = await _write(form, form.response, pieces)
        return Response(body, headers=_headers(generation, form), media_type="application/json")
    try:
        first = await unless_gone(request.receive, _first(batches))
    except BaseException:
        await batches.aclose()
        raise
    return EventStream(first, batches, form, _headers(generation, form), record)


def _headers(generation: Generation, form: Form) -> dict[str, str]:
    name = generation.adapter_generation
    return form.headers() | ({GENERATION_HEADER: name} if name else {})


class EventStream(Response):
    """Server-sent events, up to the form's closing or an error. Whatever happens, the generator is closed.

    Args:
        first, batches: the pieces. form: their bodies. headers: of the response. record: for the id of an error.
    """

    def __init__(
        self,
        first: list[Piece],
        batches: AsyncGenerator[list[Piece], None],
        form: Form,
        headers: dict[str, str],
        record: RequestRecord,
    ) -> None:
        # Proxies that gather a response before they pass it on would undo the stream.
        headers |= {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(headers=headers, media_type="text/event-stream")
        del self.headers["content-length"]
        self._first = first
        self._batches = batches
        self._form = form
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, or as much of it as the client waits for."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await unless_gone(receive, self._send_events(send))
        except ClientGoneError:
            pass  # the record says "cancelled"
        finally:
            await self._batches.aclose()

    async def _send_events(self, send: Send) -> None:
        async with aclosing(self._events()) as events:
            async for chunk, more in events:
                await send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def _events(self) -> AsyncGenerator[tuple[bytes, bool], None]:
        """Bytes, and whether more come after."""
        try:
            async for pieces in _chain(self._first, self._batches):
                if chunk := await _write(self._form, self._form.events, pieces):
                    yield chunk, True
            last = await _write(self._form, lambda _: self._form.closing(), [])
        except (EngineError, AdapterError) as error:
            last = self._form.failure(from_domain(error))
        except Exception:
            logger.exception("request %s failed in its stream", self._record.request_id)
            last = self._form.failure(internal_error(self._record.request_id))
        yield last, False


async def _write(form: Form, write: Callable[[list[Piece]], bytes], pieces: list[Piece]) -> bytes:
    return await asyncio.to_thread(write, pieces) if form.is_large(pieces) else write(pieces)


async def _first(batches: AsyncIterator[list[Piece]]) -> list[Piece]:
    return await anext(batches)


async def _chain(first: list[Piece], rest: AsyncIterator[list[Piece]]) -> AsyncIterator[list[Piece]]:
    yield first
    async for pieces in rest:
        yield pieces
