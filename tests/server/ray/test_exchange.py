"""An app's messages while they come, and its end where the client leaves."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from starlette.types import Receive, Scope, Send

from loraplex_server.ray.exchange import exchange
from loraplex_server.ray.question import Question, question_of

QUESTION = Question("POST", "/x", b"a=1", ((b"host", b"here"),), b"body")


async def test_messages_come_as_they_are_sent() -> None:
    turn = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (scope["path"], scope["query_string"]) == ("/x", b"a=1")
        assert (await receive())["body"] == b"body"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"1", "more_body": True})
        await turn.wait()
        await send({"type": "http.response.body", "body": b"2"})

    async with aclosing(exchange(app, QUESTION)) as said:
        assert [each["type"] for each in await anext(said)] == ["http.response.start", "http.response.body"]
        turn.set()
        assert [each["body"] for each in await anext(said)] == [b"2"]
        with pytest.raises(StopAsyncIteration):
            await anext(said)


async def test_leaving_ends_the_work_and_waits_for_its_end() -> None:
    ended = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        try:
            await receive()  # who listens for a disconnect waits
        finally:
            ended.append(True)

    async with aclosing(exchange(app, QUESTION)) as said:
        await anext(said)
    assert ended == [True]


async def test_what_the_app_raises_comes_behind_its_messages() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("broken")

    said = exchange(app, QUESTION)
    assert len(await anext(said)) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(said)


def test_the_path_is_without_the_prefix_of_the_application() -> None:
    scope = {"method": "GET", "path": "/llm/v1/models", "root_path": "/llm", "headers": [], "client": ("::1", 5)}
    question = question_of(scope, b"", "")
    assert (question.path, question.client) == ("/v1/models", ("::1", 5))
    assert question_of({**scope, "path": "/llm", "client": None}, b"", "").path == "/"
