"""Two servers behind vllm-router, each in turn ended while it is busy and started again: no client notices."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.installed import environment, folder_of
from support.servers import NO_TLS, Server, held_port, serving, wait_ready

pytestmark = pytest.mark.slow

RESTARTS = 3
CLIENTS = 4
TOKENS = 48
# The router looks at /ready once a second, later where the machine is busy.
DELAY_S = 6
LIMIT_S = 120
MODELS = ("loraplex-demo-base", "reverse", "upper", "json", "sort", "vowels", "shift")
PROMPTS = ("jasmine", "the quick brown fox", "grüße 東京")
Case = tuple[str, str]


@dataclass
class Seen:
    """What the clients saw."""

    whole: int = 0
    streamed: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return self.whole + self.streamed


class Fleet:
    """Servers at addresses that stay, each ended and started again at will."""

    def __init__(self, count: int, folder: Path) -> None:
        self._folder = folder
        self._starts = itertools.count()
        self._held = contextlib.ExitStack()  # its ports, also while a server is away
        self._ports = [self._held.enter_context(held_port()) for _ in range(count)]
        self._running = [contextlib.ExitStack() for _ in range(count)]
        with ThreadPoolExecutor(count) as starting:
            self.servers: list[Server] = list(starting.map(self._start, range(count)))

    def _start(self, number: int) -> Server:
        arguments = ["demo", "--threads", "1", "--shutdown-delay", str(DELAY_S)]
        log = self._folder / f"{number}.{next(self._starts)}.log"
        return self._running[number].enter_context(serving(arguments, log, port=self._ports[number]))

    def restart(self, number: int) -> None:
        """SIGTERM, wait for its end, start it again, wait until it is ready."""
        server = self.servers[number]
        self._running[number].close()
        assert server.process.returncode == 0, server.log.read_text()
        self.servers[number] = self._start(number)

    def close(self) -> None:
        with ThreadPoolExecutor(len(self._running)) as ending:
            list(ending.map(contextlib.ExitStack.close, self._running))
        self._held.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(2, tmp_path)
    with contextlib.closing(fleet):
        yield fleet


@contextlib.contextmanager
def router(fleet: Fleet, log: Path) -> Iterator[str]:
    """vllm-router over the fleet; its URL. It sends nothing twice: what the servers lose is lost."""
    with held_port() as port, held_port() as metrics:
        command = [str(folder_of("vllm-router") / "bin" / "vllm-router"), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--worker-urls", *(server.url for server in fleet.servers), "--policy", "round_robin"]
        command += ["--health-check-endpoint", "/ready", "--health-check-interval-secs", "1"]
        command += ["--health-failure-threshold", "1", "--health-success-threshold", "1", "--disable-retries"]
        command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics)]
        with log.open("wb") as sink:
            process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=environment())
        url = f"http://127.0.0.1:{port}"
        try:
            wait_ready(Server(url, process, log), path="/v1/models")
            yield url
        finally:
            process.kill()  # at a gentle end it waits for connections that clients keep
            process.wait()


def body(case: Case, **more: Any) -> dict[str, Any]:
    model, prompt = case
    return {"model": model, "prompt": prompt, "max_tokens": TOKENS, "ignore_eos": True, "temperature": 0, **more}


async def ask(client: httpx.AsyncClient, case: Case) -> tuple[str, int]:
    """A whole answer: its text and its tokens."""
    response = await client.post("/v1/completions", json=body(case))
    assert response.status_code == 200, (response.status_code, response.text)
    answer = response.json()
    assert (answer["model"], answer["choices"][0]["finish_reason"]) == (case[0], "length")
    return answer["choices"][0]["text"], answer["usage"]["completion_tokens"]


async def stream(client: httpx.AsyncClient, case: Case) -> tuple[str, int]:
    """A stream, put together, that came to its end."""
    sent = body(case, stream=True, stream_options={"include_usage": True})
    async with client.stream("POST", "/v1/completions", json=sent) as response:
        assert response.status_code == 200, (response.status_code, await response.aread())
        events = [line.removeprefix("data: ") async for line in response.aiter_lines() if line]
    assert events[-1] == "[DONE]", events[-1]
    chunks = [json.loads(event) for event in events[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["length"]
    return "".join(choice["text"] for choice in choices), chunks[-1]["usage"]["completion_tokens"]


async def load(url: str, expected: dict[Case, tuple[str, int]], seen: Seen, over: Callable[[], bool]) -> None:
    """One client that asks without pause, whole and streamed in turns, until it is over."""
    cases = itertools.cycle(expected)
    async with httpx.AsyncClient(base_url=url, timeout=120, verify=NO_TLS) as client:
        for case in itertools.islice(cases, hash(asyncio.current_task()) % len(expected), None):
            if over():
                return
            for way in (ask, stream):
                try:
                    found = await way(client, case)
                except (httpx.HTTPError, AssertionError, json.JSONDecodeError) as error:
                    seen.failures.append(f"{way.__name__} {case}: {error!r}")
                    return
                if found != expected[case]:
                    seen.failures.append(f"{way.__name__} {case}: {found} instead of {expected[case]}")
                seen.whole += way is ask
                seen.streamed += way is stream


async def at_least(count: int, server: Server, name: str, seen: Seen) -> None:
    """Wait until a number of the server's metrics is as large, and the clients still saw no failure."""
    async with httpx.AsyncClient(base_url=server.url, timeout=120, verify=NO_TLS) as client:
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            assert seen.failures == []
            lines = (await client.get("/metrics")).text.splitlines()
            if sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)) >= count:
                return
            await asyncio.sleep(0.05)
    raise AssertionError(f"{name} never came to {count}")


async def test_no_request_fails_while_servers_are_restarted_behind_a_router(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = list(itertools.product(MODELS, PROMPTS))
    answers = []
    for server in fleet.servers:
        async with httpx.AsyncClient(base_url=server.url, timeout=120, verify=NO_TLS) as client:
            answers.append({case: await ask(client, case) for case in cases})
    expected = answers[0]
    assert answers[1] == expected
    seen, over, beside = Seen(), False, []
    with router(fleet, tmp_path / "router.log") as url:
        clients = [asyncio.create_task(load(url, expected, seen, lambda: over)) for _ in range(CLIENTS)]
        for number in range(RESTARTS):
            restarted = number % len(fleet.servers)
            busy = fleet.servers[restarted]
            await at_least(1, busy, "vllm:num_requests_running", seen)
            before = seen.answered
            await asyncio.to_thread(fleet.restart, restarted)
            beside.append(seen.answered - before)
            # The router has found it again.
            await at_least(CLIENTS, fleet.servers[restarted], 'loraplex_http_responses_total{code="200"}', seen)
        over = True
        await asyncio.gather(*clients)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{seen.whole} whole answers and {seen.streamed} streams over {RESTARTS} restarts "
            f"({', '.join(map(str, beside))} while one of two servers was away): {len(seen.failures)} failed\n"
        )
    assert seen.failures == []
    assert all(beside)
    assert seen.whole > 0
    assert seen.streamed > 0
