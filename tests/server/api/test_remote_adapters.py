"""Adapters from a hub: fetched when they are added, kept on the disk, read with what came with them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.adapter_files import adapter_files
from support.api import Api
from support.hub_stub import HubStub, go_online
from support.loopback import Loopback

from loraplex_adapters.sources import fetcher
from loraplex_adapters.sources.remotes import hub as hub_module

TEMPLATE = b"[{{ messages[0]['content'] }}]"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> HubStub:
    go_online(monkeypatch)
    stub = HubStub()
    stub.repository("org/adapter").push(adapter_files() | {"chat_template.jinja": TEMPLATE})
    return stub


@pytest.fixture
def remote_api(
    hub: HubStub, make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Api]]:
    monkeypatch.setattr(fetcher, "RETRY_PAUSE_S", 0)
    with Loopback(hub.app) as server:
        url = f"http://127.0.0.1:{server.port}"
        remote = functools.partial(hub_module.HubRemote, url, HubStub.TOKEN)
        monkeypatch.setattr(hub_module, "HubRemote", remote)
        yield lambda: make_api(
            admin_key=["admin"],
            allow_adapter_source=["org/*"],
            adapter_cache=tmp_path / "cache",
            state_dir=tmp_path / "state",
        )


async def add(api: Api, **more: Any) -> Any:
    return await api.ask("POST", "/v1/adapters", {"name": "far", "source": "org/adapter", **more})


async def test_one_is_fetched_and_answers_with_its_own_template(remote_api: Callable[[], Api], hub: HubStub) -> None:
    api = remote_api()
    response = await add(api)
    assert response.status_code == 201
    body = response.json()
    assert (body["state"], body["tier"], body["source"]["kind"]) == ("on_disk", "disk", "hf")
    assert body["source"]["location"] == "hf://org/adapter"
    assert len(body["source"]["revision"]) == 40
    assert body["disk_bytes"] > 0
    asked = len(hub.requests)
    answer = await api.chat({"model": "far", "max_tokens": 50})
    assert answer.json()["choices"][0]["message"]["content"] == "hello from far 0"
    assert api.engine.requests[0].prompt_token_ids == api.renderer.tokenizer.encode("[hello]").ids
    assert len(hub.requests) == asked
    await api.catalog.close()


async def test_a_restart_fetches_nothing_that_is_there(remote_api: Callable[[], Api], hub: HubStub) -> None:
    before = remote_api()
    await add(before, pinned=True)
    await before.catalog.close()
    bodies = len(hub.bodies())
    after = remote_api()
    shown = (await after.get("/v1/adapters/far")).json()
    assert (shown["state"], shown["pinned"]) == ("on_disk", True)
    assert (await after.complete({"model": "far", "prompt": "x"})).status_code == 200
    assert len(hub.bodies()) == bodies
    await after.catalog.close()


async def test_a_hub_that_is_down_asks_for_patience(remote_api: Callable[[], Api], hub: HubStub) -> None:
    api = remote_api()
    hub.list_faults[:] = [503] * 10
    response = await add(api)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "source_unavailable")
    assert "retry-after" in response.headers
    hub.list_faults.clear()
    assert (await add(api)).status_code == 201
    missing = await api.ask("POST", "/v1/adapters", {"name": "none", "source": "org/none"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "source_not_found")
    await api.catalog.close()
