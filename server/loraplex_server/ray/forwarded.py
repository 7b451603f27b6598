"""A response that a replica makes, on its way through the ingress."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from loraplex_server.api.forms.responses import error_response
from loraplex_server.ray.failures import failure_of, last_event

# The proxy gives each response one; two of a name would only confuse.
_PROXYS = b"x-request-id"


class Answer(Protocol):
    """Messages as they come; Ray's `DeploymentResponseGenerator`."""

    def __aiter__(self) -> AsyncIterator[list[Message]]:
        """Those together that were there together."""

    def cancel(self) -> None:
        """End the work on it. Raises what was wrong with one that has failed."""


class Forwarded(Response):
    """Passes on a replica's messages. A replica that is lost is an error in the envelope of the API, also in a stream.

    Args:
        answer: of the replica. path: that was asked. request_id: for the log.
    """

    def __init__(self, answer: Answer, path: str, request_id: str) -> None:
        super().__init__()
        self._answer = answer
        self._messages = aiter(answer)
        self._error: Exception | None = None
        self._path = path
        self._request_id = request_id
        self._begun: Headers | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; being cancelled, as Ray does when the client leaves, ends the replica's work."""
        try:
            while (messages := await self._next()) is not None:
                for message in messages:
                    await send(self._noted(message))
        except BaseException:
            self._answer.cancel()
            raise
        # Outside: of an answer that failed by itself, Ray's `cancel` raises once more what was wrong with it.
        if self._error is not None:
            await self._fail(self._error, scope, receive, send)

    async def _next(self) -> list[Message] | None:
        """None where it has ended, well or not."""
        try:
            return await anext(self._messages)
        except StopAsyncIteration:
            return None
        except Exception as error:
            self._error = error
            return None

    def _noted(self, message: Message) -> Message:
        if message["type"] == "http.response.start":
            message["headers"] = [each for each in message["headers"] if each[0] != _PROXYS]
            self._begun = Headers(raw=message["headers"])
        return message

    async def _fail(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        failure = failure_of(error, self._request_id)
        if self._begun is None:
            await error_response(failure, self._path)(scope, receive, send)
        elif self._begun.get("content-type", "").startswith("text/event-stream"):
            await send({"type": "http.response.body", "body": last_event(self._path, failure), "more_body": False})
        else:
            raise error  # all that is left is to cut the connection
