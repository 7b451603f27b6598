"""One line's request, asked until it has an answer."""

from __future__ import annotations

import asyncio
import time
import uuid
from enum import Enum
from typing import Any, NamedTuple

import httpx
import msgspec

from loraplex_server.batch.answer import Answer, Reply, replied, unanswered
from loraplex_server.batch.line import Line
from loraplex_server.commands.error import CommandError

BUSY = 429  # a full queue, or a limit of requests: both end
AWAY = frozenset({502, 503, 504})
PATIENCE_S = 600.0  # an engine may have to load its model again
# What lies elsewhere than in this server may be gone for good, and its lines keep others from their seats.
ELSEWHERE = frozenset({"source_unavailable", "disk_full"})
SHORT_PATIENCE_S = 30.0
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
GREETING_S = 30.0
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404


class _State(Enum):
    FINAL = 0
    BUSY = 1
    AWAY = 2
    ELSEWHERE = 3


class _Try(NamedTuple):
    state: _State
    answer: Answer
    told_s: float | None = None  # to wait, by the server's word


class Asker:
    """Args: client: of the server, or of the app in this process."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._answered = time.monotonic()  # when the server last gave any answer of its own

    async def greet(self) -> None:
        """Before the first line: a wrong address or key would spoil every one of them.

        Raises:
            CommandError: no server is there, or it is none of this API, or it does not take the key.
        """
        try:
            response = await self._client.get("/v1/models", timeout=GREETING_S)
        except httpx.TransportError as error:
            raise CommandError(
                f"no server answers at {self._client.base_url}: {error or type(error).__name__}"
            ) from error
        if response.status_code == NOT_FOUND:
            raise CommandError(f"there is no {response.url}; --url is a server's root, without /v1")
        if response.status_code in (UNAUTHORIZED, FORBIDDEN):
            raise CommandError(_shut_out(response.status_code, _message(_one_line(response))))

    async def ask_or_stop(self, line: Line) -> Answer:
        """As ask, but that what every other line would be told too is the answer to none.

        Raises:
            CommandError: the server does not take the key, or gave nobody an answer for PATIENCE_S.
        """
        answer = await self.ask(line)
        reply = answer.response
        if reply is not None and reply.status_code == UNAUTHORIZED:
            raise CommandError(_shut_out(UNAUTHORIZED, _message(reply.body)))
        if not answer.ok and time.monotonic() - self._answered >= PATIENCE_S:
            said = f"the server says {reply.status_code}" if reply else answer.error and answer.error.message
            raise CommandError(f"no answer for {PATIENCE_S:.0f} s ({said}); the same command goes on from here")
        return answer

    async def ask(self, line: Line) -> Answer:
        """The answer to a line. A server that is busy is asked again, one that is away for PATIENCE_S."""
        if line.streams:
            return replied(line.custom_id, _no_streams())
        pause = SHORTEST_PAUSE_S
        away_since: float | None = None
        while True:
            tried = await self._once(line)
            if tried.state is not _State.AWAY:
                self._answered = time.monotonic()
            if tried.state is _State.FINAL:
                return tried.answer
            if tried.state is _State.BUSY:
                away_since = None
            else:
                away_since = away_since or time.monotonic()
                patience = PATIENCE_S if tried.state is _State.AWAY else SHORT_PATIENCE_S
                if time.monotonic() - away_since >= patience:
                    return tried.answer
            await asyncio.sleep(tried.told_s or pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _once(self, line: Line) -> _Try:
        try:
            response = await self._client.post(
                line.url, content=line.body, headers={"content-type": "application/json"}
            )
        except httpx.TransportError as error:
            reason = f"no server answered: {type(error).__name__}: {str(error)[:500]}"
            return _Try(_State.AWAY, unanswered(line.custom_id, "server_unreachable", reason))
        request_id = response.headers.get("x-request-id") or uuid.uuid4().hex
        body = _one_line(response)
        answer = replied(line.custom_id, Reply(response.status_code, request_id, body))
        if response.status_code == BUSY:
            return _Try(_State.BUSY, answer, _told(response))
        if response.status_code in AWAY:
            state = _State.ELSEWHERE if _code(body) in ELSEWHERE else _State.AWAY
            return _Try(state, answer, _told(response))
        return _Try(_State.FINAL, answer)


def _told(response: httpx.Response) -> float | None:
    told = response.headers.get("retry-after", "")
    return min(max(float(told), SHORTEST_PAUSE_S), LONGEST_PAUSE_S) if told.isascii() and told.isdigit() else None


def _one_line(response: httpx.Response) -> msgspec.Raw:
    data = response.content
    try:
        if b"\n" in data:
            return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(data)))
        return msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _error(f"the server answered {response.status_code} without JSON", "server_error", None, "no_json")


def _shut_out(status: int, message: object) -> str:
    return f"the server does not take the key, or wants one: {status} {message or ''}".rstrip()


def _code(body: msgspec.Raw) -> object:
    return _said(body).get("code")


def _message(body: msgspec.Raw) -> object:
    return _said(body).get("message")


def _said(body: msgspec.Raw) -> dict[str, Any]:
    found: Any = msgspec.json.decode(body)
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else {}


def _no_streams() -> Reply:
    message = "'stream' must not be true in a batch: its answers are whole"
    body = _error(message, "invalid_request_error", "stream", "unsupported_parameter")
    return Reply(400, uuid.uuid4().hex, body)


def _error(message: str, type: str, param: str | None, code: str) -> msgspec.Raw:
    error = {"message": message, "type": type, "param": param, "code": code}
    return msgspec.Raw(msgspec.json.encode({"error": error}))
