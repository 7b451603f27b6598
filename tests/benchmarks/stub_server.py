"""An OpenAI-compatible server that streams made-up tokens at a known pace; also a command, for tests of processes.

What it does with a request depends on the model named: `base` and `adapter-000` to `adapter-003` answer, the others
each fail in their own way.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

ADAPTERS = tuple(f"adapter-{number:03}" for number in range(4))
FIRST_S, GAP_S = 0.02, 0.005
# A stub that a failing test leaves behind ends by itself.
LIFETIME_S = 300.0


class Stub:
    """Attributes: bodies: of all requests so far. peak: most requests in flight at once. usage: whether it is sent.
    counted: tokens that it says there were; None: as many as there were.

    Args: adapters: their names. deaf: whether every model's token ids are those of the base.
    """

    def __init__(self, adapters: Sequence[str] = ADAPTERS, deaf: bool = False) -> None:
        self.adapters = tuple(adapters)
        self.deaf = deaf
        self.bodies: list[dict[str, Any]] = []
        self.peak = 0
        self.usage = True
        self.counted: int | None = None
        self._in_flight: set[asyncio.Future[None]] = set()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        lengths = [line.partition(":")[2] for line in head.splitlines() if line.lower().startswith("content-length:")]
        body = json.loads(await reader.readexactly(int(lengths[0]))) if lengths else {}
        answer = asyncio.ensure_future(self._answer(writer, method, path, body))
        self._in_flight.add(answer)
        answer.add_done_callback(self._in_flight.discard)
        self.peak = max(self.peak, len(self._in_flight))

    async def close(self) -> None:
        """End the answers that are still going on."""
        answers = list(self._in_flight)
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)

    async def _answer(self, writer: asyncio.StreamWriter, method: str, path: str, body: dict[str, Any]) -> None:
        try:
            await self._respond(writer, method, path, body)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _respond(self, writer: asyncio.StreamWriter, method: str, path: str, body: dict[str, Any]) -> None:
        if method == "GET":
            models = [{"id": "base", "parent": None}, *({"id": name, "parent": "base"} for name in self.adapters)]
            _whole(writer, 200, {"data": models} if path == "/v1/models" else {})
            return
        self.bodies.append(body)
        if body["model"] not in {"base", "cut", "error", "garbage", "silent", *self.adapters}:
            _whole(writer, 404, {"error": {"message": f"no model {body['model']}"}})
            return
        if not body.get("stream"):
            number = 0 if self.deaf or body["model"] == "base" else 1 + self.adapters.index(body["model"])
            _whole(writer, 200, {"choices": [{"text": "a", "token_ids": [number] * body["max_tokens"]}]})
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        if await self._stream(writer, body, chat=path.endswith("/chat/completions")):
            writer.write(b"0\r\n\r\n")

    async def _stream(self, writer: asyncio.StreamWriter, body: dict[str, Any], chat: bool) -> bool:
        """False where the connection is to break off instead of ending."""
        await asyncio.sleep(FIRST_S)
        if chat:
            _event(writer, {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
        for number in range(body["max_tokens"]):
            await asyncio.sleep(GAP_S if number else 0)
            last = number + 1 == body["max_tokens"]
            text = {"delta": {"content": " a"}} if chat else {"text": " a"}
            _event(writer, {"choices": [{**text, "finish_reason": "length" if last and not chat else None}]})
            if body["model"] == "cut":
                return False
            if body["model"] == "silent":
                await asyncio.sleep(LIFETIME_S)
        if chat:
            _event(writer, {"choices": [{"delta": {}, "finish_reason": "length"}]})
        if body["model"] == "error":
            _event(writer, {"error": {"message": "the engine died"}})
        if body["model"] == "garbage":
            _event(writer, "{not JSON")
        if self.usage and body.get("stream_options"):
            counted = body["max_tokens"] if self.counted is None else self.counted
            usage = {"prompt_tokens": len(body.get("prompt", "")), "completion_tokens": counted}
            _event(writer, {"choices": [], "usage": usage})
        _event(writer, "[DONE]")
        return True


def _whole(writer: asyncio.StreamWriter, status: int, body: object) -> None:
    payload = json.dumps(body).encode()
    writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(payload)}\r\n\r\n".encode() + payload)


def _event(writer: asyncio.StreamWriter, payload: object) -> None:
    line = f"data: {payload if isinstance(payload, str) else json.dumps(payload)}\n\n".encode()
    writer.write(b"%x\r\n%s\r\n" % (len(line), line))


@contextlib.asynccontextmanager
async def running(
    port: int = 0, adapters: Sequence[str] = ADAPTERS, deaf: bool = False
) -> AsyncIterator[tuple[Stub, str]]:
    """A stub and its address, while the block runs."""
    stub = Stub(adapters, deaf)
    server = await asyncio.start_server(stub.connection, "127.0.0.1", port)
    async with server:
        try:
            yield stub, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            await stub.close()


async def _serve(port: int, adapters: int, deaf: bool) -> None:
    async with running(port, [f"adapter-{number:03}" for number in range(adapters)], deaf):
        await asyncio.sleep(LIFETIME_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--adapters", type=int, default=len(ADAPTERS))
    parser.add_argument("--deaf", action="store_true")
    given = parser.parse_args()
    asyncio.run(_serve(given.port, given.adapters, given.deaf))
