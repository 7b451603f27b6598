"""A request to an app in this process, and its response while it is being made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.types import ASGIApp, Message, Receive

from loraplex_server.ray.question import Question


async def exchange(app: ASGIApp, question: Question) -> AsyncGenerator[list[Message], None]:
    """The app's messages, those together that were there together.

    Closing the generator early is the client's leaving: the app's work on the request ends.

    Raises:
        Exception: what the app raised, behind its last message.
    """
    said: asyncio.Queue[Message | None] = asyncio.Queue()

    async def work() -> None:
        try:
            await app(question.scope(), _receiving(question.body), said.put)
        finally:
            said.put_nowait(None)

    task = asyncio.create_task(work())
    try:
        ended = False
        while not ended:
            messages = [await said.get()]
            while not said.empty():
                messages.append(said.get_nowait())
            ended = messages[-1] is None
            if told := [message for message in messages if message is not None]:
                yield told
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _receiving(body: bytes) -> Receive:
    """The body, and then nothing: who is gone is told by the task's cancellation."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not parts:
            await asyncio.Event().wait()  # nobody sets it
        return parts.pop()

    return receive
