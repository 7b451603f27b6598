"""Requests whose adapters are far away: they wait, nobody else does, and who hangs up waits no longer."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from support.api import Api, serve_app, until
from support.fake_engine import FakeEngine

from loraplex_server.engine.interface import EngineDeadError

CHAT = {"model": "alpha", "messages": [{"role": "user", "content": "hello"}]}


class Far:
    """A catalogue of which one adapter takes until it is told to come."""

    def __init__(self, api: Api, name: str) -> None:
        self.arrives = asyncio.Event()
        self.waiting = 0
        self.held: list[str] = []
        self._open = api.catalog.open
        self._name = name
        api.catalog.open = self.open  # type: ignore[method-assign]

    async def open(self, name: str) -> Any:
        if name == self._name:
            self.waiting += 1
            try:
                await self.arrives.wait()
            finally:
                self.waiting -= 1
        found = await self._open(name)
        self.held.append(name)
        found.folder.on_release = lambda: self.held.remove(name)
        return found


@pytest.fixture
def far(api: Api) -> Far:
    return Far(api, "alpha")


async def test_only_who_names_it_waits(api: Api, far: Far) -> None:
    asked = asyncio.create_task(api.chat(CHAT))
    await until(lambda: far.waiting)
    assert (await api.chat({**CHAT, "model": "beta"})).status_code == 200
    assert (await api.chat({**CHAT, "model": "base"})).status_code == 200
    assert not asked.done()
    far.arrives.set()
    assert (await asked).status_code == 200
    assert far.held == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize"])
async def test_who_hangs_up_waits_no_longer(api: Api, far: Far, path: str) -> None:
    async with serve_app(api) as url, httpx.AsyncClient(base_url=url) as client:
        asked = asyncio.create_task(client.post(path, json=CHAT))
        await until(lambda: far.waiting)
        asked.cancel()
        await until(lambda: not far.waiting)
        assert far.held == []
        far.arrives.set()
        assert (await client.post(path, json=CHAT)).status_code == 200


async def test_a_stream_holds_its_adapter_until_its_client_leaves(api: Api, far: Far) -> None:
    far.arrives.set()
    api.engine.gate, api.engine.gate_after = asyncio.Event(), 1
    async with serve_app(api) as url, httpx.AsyncClient(base_url=url) as client:
        async with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as response:
            assert response.status_code == 200
            await anext(response.aiter_bytes())
            assert far.held == ["alpha"]
        await until(lambda: not far.held)


async def test_prompts_of_one_request_never_meet_two_versions(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    started = api.engine._started

    def changing(request: Any, index: int) -> Any:
        api.engine.generation = ("ab" if request.prompt_token_ids == [10] else "cd") * 32
        return started(request, index)

    monkeypatch.setattr(api.engine, "_started", changing)
    response = await api.complete({"prompt": [[10], [11]], "model": "beta"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "adapter_changing")
    assert (await api.complete({"prompt": [[10], [10]], "model": "beta"})).status_code == 200


async def test_holds_end_with_the_request_whichever_way(
    api: Api, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []
    opened = api.catalog.open

    async def open_counting(name: str) -> Any:
        found = await opened(name)
        held.append(name)
        found.folder.on_release = lambda: held.remove(name)
        return found

    monkeypatch.setattr(api.catalog, "open", open_counting)
    seen: list[list[str]] = []
    script = engine.script
    engine.script = lambda request, index: seen.append(list(held)) or script(request, index)
    await api.complete({"prompt": "x", "model": "alpha"})
    await api.chat({"model": "beta", "stream": True})
    await api.complete({"prompt": "x", "adapters": [{"name": "alpha"}, {"name": "gamma"}]})
    assert seen == [["alpha"], ["beta"], ["alpha", "gamma"]]
    assert held == []
    await api.complete({"prompt": "x", "adapters": [{"name": "alpha"}, {"name": "nobody"}]})
    await api.complete({"prompt": [99999999], "model": "alpha", "max_tokens": 9999})
    await api.post("/tokenize", {"prompt": "x", "model": "alpha"})
    engine.failure = EngineDeadError("gone")
    await api.complete({"prompt": "x", "model": "alpha"})
    engine.fail_after = 1
    await api.chat({"model": "beta", "stream": True})
    assert held == []
