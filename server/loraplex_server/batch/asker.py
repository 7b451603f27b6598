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

BUSY = 429  # a full queue, or a limit of requests: both end
AWAY = frozenset({502, 503, 504})
PATIENCE_S = 600.0  # an engine may have to load its model again
# What lies elsewhere than in this server may be gone for good, and its lines keep others from their seats.
ELSEWHERE = frozenset({"source_unavailable", "disk_full"})
SHORT_PATIENCE_S = 30.0
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0


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

    async def ask(self, line: Line) -> Answer:
        """The answer to a line. A server that is busy is asked again, one that is away for PATIENCE_S."""
        if line.streams:
            return replied(line.custom_id, _no_streams())
        pause = SHORTEST_PAUSE_S
        away_since: float | None = None
        while True:
            tried = await self._once(line)
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


def _code(body: msgspec.Raw) -> object:
    found: Any = msgspec.json.decode(body)
    error = found.get("error") if isinstance(found, dict) else None
    return error.get("code") if isinstance(error, dict) else None


def _no_streams() -> Reply:
    message = "'stream' must not be true in a batch: its answers are whole"
    body = _error(message, "invalid_request_error", "stream", "unsupported_parameter")
    return Reply(400, uuid.uuid4().hex, body)


def _error(message: str, type: str, param: str | None, code: str) -> msgspec.Raw:
    error = {"message": message, "type": type, "param": param, "code": code}
    return msgspec.Raw(msgspec.json.encode({"error": error}))
