"""`kill -9` of the engine: its requests end with an error, everything else goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import httpx
from support.servers import Server, serving, wait_ready

# So much that all are still in flight when the engine is killed, however late; and all have a seat.
TOKENS, ANSWERS = 1000, 8


async def stream(client: httpx.AsyncClient, server: Server, first: asyncio.Event) -> list[str]:
    body = {"model": "base", "prompt": "a", "n": ANSWERS, "max_tokens": TOKENS, "ignore_eos": True, "stream": True}
    events = []
    async with client.stream("POST", f"{server.url}/v1/completions", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                events.append(line.removeprefix("data: "))
                first.set()
    return events


async def killed_in_flight(server: Server) -> tuple[list[list[str]], int]:
    async with httpx.AsyncClient(timeout=120) as client:
        starts = [asyncio.Event() for _ in range(4)]
        tasks = [asyncio.create_task(stream(client, server, start)) for start in starts]
        await asyncio.gather(*(start.wait() for start in starts))
        os.kill(server.engine_pid(), signal.SIGKILL)
        ended = await asyncio.gather(*tasks)
        return ended, (await client.get(f"{server.url}/health")).status_code


def test_requests_in_flight_end_with_an_error_and_the_engine_comes_back(tmp_path: Path) -> None:
    with serving(["demo", "--max-model-len", "1024"], tmp_path / "log") as server:
        before = server.engine_pid()
        ended, health = asyncio.run(killed_in_flight(server))
        for events in ended:
            assert events[-1] == "[DONE]"
            assert "error" in json.loads(events[-2])
            assert all("error" not in json.loads(event) for event in events[:-2])
        assert health == 503
        refused = server.post("/v1/completions", {"model": "base", "prompt": "a"})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        wait_ready(server)
        assert server.get("/health").status_code == 200
        assert server.engine_pid() != before
        answer = server.post("/v1/completions", {"model": "base", "prompt": "a", "max_tokens": 3, "ignore_eos": True})
        assert answer.json()["usage"]["completion_tokens"] == 3


def test_the_engine_ends_when_the_http_process_is_killed(tmp_path: Path) -> None:
    with serving(["demo"], tmp_path / "log") as server:
        engine = server.engine_pid()
        server.process.kill()
        server.process.wait()
        deadline = time.monotonic() + 120
        while _alive(engine) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(engine)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second where it ends between opening and reading
        return False
