"""One HTTP request and its streamed answer.

Not httpx: with 16 streams it takes 170 us of processor time for each event, this takes 45, and at 400 tokens a second
the difference is 5 % of a core that the server under test should have.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import cast
from urllib.parse import SplitResult, urlsplit

import httptools

from loraplex_server.bench.load.answer import Answer
from loraplex_server.bench.load.targets import Targets
from loraplex_server.bench.load.trace import Trace


class Exchange(asyncio.Protocol):
    """Sends `request` once connected and feeds the answer's body to `answer`; `done` is set when it is over.

    A connection serves one request, so connecting is a part of every time to first token (0.1 ms on loopback).
    """

    def __init__(self, request: bytes, answer: Answer) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._answer = answer
        self._parser = httptools.HttpResponseParser(self)
        self._now = 0.0
        self._has_length = False
        self._ends_with_connection = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        cast(asyncio.WriteTransport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """All events of one piece arrived at the same time: when the piece did."""
        self._now = time.perf_counter()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._answer.fail("malformed", f"not an HTTP answer: {error}")
            self._over()

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that was not whole by now never will be, unless nothing else was to end it."""
        if not self.done.done() and exc is None and self._ends_with_connection:
            self._answer.finish(time.perf_counter())
        elif not self.done.done():
            self._answer.fail("disconnected", str(exc or "the server closed the connection"))
        self._over()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools."""
        self._has_length |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        """Called by httptools."""
        self._answer.status(self._parser.get_status_code())
        self._ends_with_connection = not self._has_length

    def on_body(self, body: bytes) -> None:
        """Called by httptools for each piece of the body."""
        self._answer.feed(body, self._now)

    def on_message_complete(self) -> None:
        """Called by httptools."""
        self._answer.finish(self._now)
        self._over()

    def _over(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Sender:
    """Sends requests to one endpoint of one server."""

    def __init__(self, targets: Targets, endpoint: str, timeout_s: float) -> None:
        self._address = urlsplit(targets.url)
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context() if self._address.scheme == "https" else None
        path = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}[endpoint]
        self._head = _head(self._address, path, targets.api_key)

    async def send(self, trace: Trace) -> None:
        """Send the trace's request and fill the trace; failures are written there, not raised."""
        answer = Answer(trace)
        body = trace.planned.body
        request = self._head + b"content-length: %d\r\n\r\n" % len(body) + body
        try:
            await asyncio.wait_for(self._exchange(request, answer), self._timeout_s)
        except asyncio.TimeoutError:
            answer.fail("timeout", f"no whole answer in {self._timeout_s:g} s")
        except OSError as error:
            answer.fail("connect", str(error))

    async def _exchange(self, request: bytes, answer: Answer) -> None:
        port = self._address.port or (443 if self._tls else 80)
        transport, exchange = await asyncio.get_running_loop().create_connection(
            lambda: Exchange(request, answer), self._address.hostname or "", port, ssl=self._tls
        )
        try:
            await exchange.done
        finally:
            transport.close()


def _head(address: SplitResult, path: str, api_key: str | None) -> bytes:
    lines = [
        f"POST {address.path.rstrip('/')}{path} HTTP/1.1",
        f"host: {address.netloc}",
        "content-type: application/json",
        "accept: text/event-stream",
        "connection: close",
    ]
    if api_key:
        lines.append(f"authorization: Bearer {api_key}")
    return "".join(f"{line}\r\n" for line in lines).encode()
