"""Over real sockets: the openai client, clients that hang up, and the end of the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable

import httpx
import openai
import pytest
import uvicorn
from support.api import Api, events, until
from support.fake_engine import FakeEngine

from loraplex_server.api.process.server import GracefulServer
from loraplex_server.engine.interface import EngineDeadError

Says = Callable[..., FakeEngine]
LIMIT_S = 240  # for what takes no time at all on a machine that is not busy


class Running:
    """A served app."""

    def __init__(self, api: Api, server: GracefulServer, task: asyncio.Task[None], port: int) -> None:
        self.api, self.server, self.task, self.port = api, server, task, port
        self.url = f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def serving(api: Api, timeout: float = LIMIT_S, delay: float = 0.0) -> AsyncIterator[Running]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(api.app, http="httptools", access_log=False, log_config=None, timeout_graceful_shutdown=2)

    async def give_up() -> None:
        api.engine.failure = EngineDeadError("the server is shutting down")
        if api.engine.gate is not None:
            api.engine.gate.set()

    server = GracefulServer(config, api.services.drain, timeout, give_up, delay=delay)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        yield Running(api, server, task, listener.getsockname()[1])
    finally:
        server.should_exit = True
        await task


async def test_the_openai_client_gets_what_it_expects(api: Api, says: Says) -> None:
    says("hello 日本 there")
    async with serving(api) as running, openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none") as client:
        chat = await client.chat.completions.create(
            model="alpha", messages=[{"role": "user", "content": "hi"}], logprobs=True, top_logprobs=2
        )
        assert chat.choices[0].message.content == "hello 日本 there"
        assert chat.choices[0].finish_reason == "stop"
        assert chat.usage is not None
        assert chat.usage.prompt_tokens_details is not None
        assert chat.usage.prompt_tokens_details.cached_tokens == 1
        assert chat.choices[0].logprobs is not None
        stream = await client.chat.completions.create(
            model="alpha",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "hello 日本 there"
        assert chunks[-1].usage == chat.usage
        completion = await client.completions.create(
            model="base", prompt=["a", "b"], logprobs=2, echo=True, extra_body={"top_k": 5, "min_p": 0.1}
        )
        assert [choice.text for choice in completion.choices] == ["ahello 日本 there", "bhello 日本 there"]
        assert (await client.models.list()).data[0].id == "test-model"
        assert (await client.models.retrieve("beta")).id == "beta"


async def test_the_openai_client_raises_its_own_errors(api: Api, says: Says) -> None:
    says("hello there")
    async with (
        serving(api) as running,
        openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client,
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            await client.completions.create(model="nobody", prompt="x")
        assert caught.value.code == "model_not_found"
        assert caught.value.param == "model"
        assert caught.value.request_id
        with pytest.raises(openai.BadRequestError):
            await client.completions.create(model="base", prompt="x", suffix="y")
        api.engine.failure, api.engine.fail_after = EngineDeadError("died"), 1
        stream = await client.completions.create(model="base", prompt="x", stream=True)
        with pytest.raises(openai.APIError, match="died"):
            _ = [chunk async for chunk in stream]


async def test_chunks_leave_as_they_come(api: Api, says: Says) -> None:
    says("hello there world")
    api.engine.gate, api.engine.gate_after = asyncio.Event(), 2
    async with serving(api) as running, httpx.AsyncClient(base_url=running.url) as client:
        body = {"prompt": "x", "stream": True}
        async with client.stream("POST", "/v1/completions", json=body) as response:
            lines = response.aiter_lines()
            first = json.loads((await anext(lines)).removeprefix("data: "))
            assert first["choices"][0]["finish_reason"] is None
            assert api.engine.finished == []
            api.engine.gate.set()
            rest = [line async for line in lines if line]
            assert rest[-1] == "data: [DONE]"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("tokens", [0, 2])
@pytest.mark.parametrize("prompts", [1, 3])
async def test_a_client_that_hangs_up_ends_its_own_work(
    api: Api, says: Says, stream: bool, tokens: int, prompts: int
) -> None:
    says("hello there world")
    api.engine.gate, api.engine.gate_after = asyncio.Event(), tokens
    async with serving(api) as running:
        body = json.dumps({"prompt": ["x"] * prompts, "stream": stream}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        head = (
            f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        )
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()
        if stream and tokens:
            await reader.readuntil(b"data: ")
        await until(lambda: len(api.engine.requests) == prompts)
        await asyncio.sleep(0.05)
        assert api.engine.closed_early == []
        writer.close()
        await until(lambda: len(api.engine.closed_early) == prompts)
        await until(lambda: api.services.drain.in_flight == 0)
    text = api.services.metrics.render(api.engine.info, api.engine.stats).decode()
    assert f'finished_reason="abort",model_name="test-model"}} {prompts}.0' in text
    assert api.engine.finished == []


async def test_a_slow_reader_loses_nothing(api: Api) -> None:
    ids = api.renderer.tokenizer.encode("the quick brown fox jumps over the lazy dog ").ids
    api.engine.script = lambda request, index: (ids * 40)[:250]
    async with serving(api) as running:
        body = {"prompt": [[5]] * 20, "max_tokens": 250, "stream": True, "logprobs": 5}
        url = f"{running.url}/v1/completions"
        async with httpx.AsyncClient() as client, client.stream("POST", url, json=body) as response:
            await asyncio.sleep(0.5)
            text = (await response.aread()).decode()
    counts = dict.fromkeys(range(20), 0)
    for chunk in events(text):
        for choice in chunk["choices"]:
            counts[choice["index"]] += len(choice["logprobs"]["tokens"])
    assert set(counts.values()) == {250}


@contextlib.asynccontextmanager
async def one_request_inside(api: Api, client: httpx.AsyncClient) -> AsyncIterator[None]:
    """While one is computed the server drains, told by SIGTERM; on leaving, it is answered to its end."""
    api.engine.gate, api.engine.gate_after = asyncio.Event(), 1
    async with client.stream("POST", "/v1/completions", json={"prompt": "x", "stream": True}) as response:
        lines = response.aiter_lines()
        await anext(lines)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: api.services.drain.begun)
        yield
        api.engine.gate.set()
        assert [line async for line in lines if line][-1] == "data: [DONE]"


async def test_sigterm_lets_requests_finish_and_refuses_new_ones(api: Api, says: Says) -> None:
    says("hello there")
    async with serving(api) as running, httpx.AsyncClient(base_url=running.url) as client:
        async with one_request_inside(api, client):
            refused = await client.post("/v1/completions", json={"prompt": "x"})
            assert refused.status_code == 503
            assert (await client.get("/ready")).status_code == 503
            assert not running.task.done()
        await asyncio.wait_for(running.task, LIMIT_S)
    assert len(api.engine.finished) == 1
    assert api.engine.closed_early == []


@pytest.mark.parametrize("signals", [1, 2])
async def test_requests_that_outlast_the_shutdown_end_with_an_error(api: Api, says: Says, signals: int) -> None:
    says("hello there")
    api.engine.gate, api.engine.gate_after = asyncio.Event(), 1
    # A second signal does not wait for the timeout.
    async with serving(api, timeout=0.3 if signals == 1 else 10 * LIMIT_S) as running, httpx.AsyncClient() as client:
        url = f"{running.url}/v1/completions"
        async with client.stream("POST", url, json={"prompt": "x", "stream": True}) as response:
            lines = response.aiter_lines()
            await anext(lines)
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.sleep(0.15)
            rest = [line.removeprefix("data: ") async for line in lines if line]
        assert rest[-1] == "[DONE]"
        assert json.loads(rest[-2])["error"]["code"] == "engine_unavailable"
        await asyncio.wait_for(running.task, LIMIT_S)


async def test_an_idle_server_ends_at_once(api: Api) -> None:
    async with serving(api, timeout=10 * LIMIT_S) as running:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(running.task, LIMIT_S)


async def test_a_leaving_server_serves_on_and_ends_each_connection_with_its_answer(api: Api, says: Says) -> None:
    says("hello there")
    async with (
        serving(api, delay=10 * LIMIT_S) as running,
        httpx.AsyncClient(base_url=running.url) as client,
    ):
        before = await client.post("/v1/completions", json={"prompt": "x"})
        assert (before.status_code, before.headers.get("connection")) == (200, None)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: api.services.drain.leaving)
        for _ in range(3):
            answer = await client.post("/v1/completions", json={"prompt": "x"})
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            ready = await client.get("/ready")
            assert (ready.status_code, ready.headers["connection"]) == (503, "close")
        assert (await client.get("/health")).status_code == 200
        assert not running.task.done()
        os.kill(os.getpid(), signal.SIGTERM)  # the second one hurries
        await asyncio.wait_for(running.task, LIMIT_S)


async def test_requests_are_refused_after_the_delay(api: Api, says: Says) -> None:
    says("hello there")
    async with serving(api, delay=0.2) as running, httpx.AsyncClient(base_url=running.url) as client:
        async with one_request_inside(api, client):
            refused = await client.post("/v1/completions", json={"prompt": "x"})
            assert (refused.status_code, refused.headers["connection"]) == (503, "close")
            assert int(refused.headers["retry-after"]) >= 1
        await asyncio.wait_for(running.task, LIMIT_S)


async def test_a_person_need_not_wait_for_routers(api: Api) -> None:
    async with serving(api, delay=10 * LIMIT_S) as running:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(running.task, LIMIT_S)


@pytest.mark.parametrize("delay", [0.0, 0.3])
async def test_no_reused_connection_is_cut_off_while_the_server_leaves(api: Api, says: Says, delay: float) -> None:
    """Each request is answered, or told to go elsewhere, or finds nobody; none is lost on the way."""
    says("hello there")
    ends: list[str] = []
    answered = 0

    async def asks(url: str) -> None:
        nonlocal answered
        async with httpx.AsyncClient(base_url=url) as client:
            while True:
                try:
                    answer = await client.post("/v1/completions", json={"prompt": "x"})
                except httpx.ConnectError:
                    ends.append("nobody")
                    return
                if answer.status_code == 503:
                    ends.append("told")
                    return
                assert answer.status_code == 200
                answered += 1

    async with serving(api, delay=delay) as running:
        clients = [asyncio.create_task(asks(running.url)) for _ in range(8)]
        await until(lambda: answered > 50)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(asyncio.gather(running.task, *clients), LIMIT_S)
    assert len(ends) == 8
    assert "told" in ends
