"""Replicas that are lost are errors in the envelope of the API that was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError
from starlette.types import Message, Receive, Scope, Send

from loraplex_server.ray.forwarded import Forwarded

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
EVENT = {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True}


class Answer:
    def __init__(self, messages: list[Message], error: Exception) -> None:
        self.messages, self.error, self.cancelled = messages, error, False

    async def __aiter__(self) -> AsyncIterator[list[Message]]:
        for message in self.messages:
            yield [dict(message)]
        raise self.error

    def cancel(self) -> None:
        self.cancelled = True
        raise self.error  # as Ray's does


async def ask(path: str, messages: list[Message], error: Exception) -> httpx.Response:
    answer = Answer(messages, error)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Forwarded(answer, path, "req-1")(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        response = await client.get(path)
    assert not answer.cancelled
    return response


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/v1/chat/completions", 503, {"error": {"type": "server_error", "param": None, "code": "replica_lost"}}),
        ("/v1/messages", 529, {"type": "error", "error": {"type": "overloaded_error"}}),
        ("/generate", 429, {"error_type": "overloaded"}),
    ],
)
async def test_before_the_answer_an_error_has_its_status(path: str, status: int, body: dict[str, Any]) -> None:
    response = await ask(path, [], ActorDiedError())
    said = response.json()
    assert response.status_code == status
    message = said["error"].pop("message") if isinstance(said["error"], dict) else said.pop("error")
    assert message == "The replica ended before the request was finished; try again"
    assert said == body


@pytest.mark.parametrize(
    ("path", "ending"),
    [
        ("/v1/chat/completions", ("data: ", "data: [DONE]")),
        ("/v1/messages", ("event: error\ndata: ",)),
        ("/v1/responses", ("event: error\ndata: ",)),
        ("/generate_stream", ("data: ",)),
    ],
)
async def test_in_a_stream_it_is_the_last_event(path: str, ending: tuple[str, ...]) -> None:
    events = (await ask(path, [START, EVENT], ActorDiedError())).text.split("\n\n")
    assert events[0] == "data: 1"
    assert [event[: len(start)] for event, start in zip(events[1:], ending, strict=False)] == list(ending)
    assert len(events) == 2 + len(ending)
    assert "The replica ended" in json.dumps(json.loads(events[1].partition("data: ")[2]))


async def test_in_a_body_that_has_begun_it_cuts_the_connection() -> None:
    start = START | {"headers": [(b"content-type", b"application/json")]}
    with pytest.raises(ActorDiedError):
        await ask("/v1/models", [start, EVENT], ActorDiedError())


async def test_a_full_queue_is_told_as_the_server_tells_it() -> None:
    response = await ask("/v1/completions", [], BackPressureError(num_queued_requests=9, max_queued_requests=8))
    assert (response.status_code, response.json()["error"]["code"]) == (429, "queue_full")
    assert int(response.headers["retry-after"]) > 0


async def test_what_nobody_expected_is_told_by_its_id_alone(caplog: pytest.LogCaptureFixture) -> None:
    response = await ask("/v1/completions", [], ValueError("a secret"))
    assert response.status_code == 500
    assert "a secret" not in response.text
    assert "req-1" in response.text
    assert "a secret" in caplog.text


async def test_a_client_that_leaves_ends_the_work() -> None:
    cancelled, begun = asyncio.Event(), asyncio.Event()

    class Endless:
        async def __aiter__(self) -> AsyncIterator[list[Message]]:
            yield [dict(START)]
            begun.set()
            await asyncio.Event().wait()

        def cancel(self) -> None:
            cancelled.set()

    async def send(message: Message) -> None:
        pass

    work = asyncio.create_task(Forwarded(Endless(), "/v1/completions", "req-1")({}, send, send))
    await begun.wait()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert cancelled.is_set()
