"""Adapters from a hub: fetched when they are added, kept on the disk, read with what came with them."""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.adapter_files import adapter_files
from support.api import Api, until
from support.collector import collecting
from support.hub_stub import HubStub, go_online
from support.loopback import Loopback

from loraplex_adapters.sources import fetcher
from loraplex_adapters.sources.remotes import hub as hub_module
from loraplex_server.api.process import disk_watch
from loraplex_server.tracing.open import open_tracing

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


async def test_a_fetch_is_of_the_trace_of_who_waits_for_it(
    remote_api: Callable[[], Api], hub: HubStub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    api = remote_api()
    await add(api)
    await api.catalog.close()
    assert hub.traceparents == set()  # nothing is traced here
    shutil.rmtree(tmp_path / "cache")
    caplog.set_level(logging.INFO)
    with collecting() as collector, open_tracing(collector.url) as tracing:
        api = remote_api()
        assert api.app.user_middleware[0].kwargs["tracing"] is None
        api.app.user_middleware[0].kwargs["tracing"] = tracing
        assert (await api.chat({"model": "far"})).status_code == 200
        assert (await api.chat({"model": "far"})).status_code == 200  # which waits for nothing
        await api.catalog.close()
        assert tracing is not None
        tracing.close()
        first, second = collector.roots()
        (fetch,) = collector.named("fetch_adapter")
        assert fetch.attributes == {"loraplex.adapter.name": "far"}
        assert fetch.parent_id == first.span_id
        assert first.start <= fetch.start < fetch.end <= first.end
        assert hub.traceparents == {f"00-{first.trace_id}-{first.span_id}-01"}
        assert collector.below(second)[0].name == "queue"
    lines = [record.fields for record in caplog.records if record.name == "loraplex_server.request"]
    assert lines[0]["fetch_s"] > 0
    assert "fetch_s" not in lines[1]


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


async def test_metrics_tell_how_full_the_disk_cache_is(
    remote_api: Callable[[], Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_watch, "INTERVAL_S", 0.01)
    api = remote_api()

    def told() -> dict[str, float]:
        api.services.metrics._written_at = float("-inf")
        text = api.services.metrics.render(api.engine.info, api.engine.stats).decode()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("loraplex_disk_cache"))
        return {name: float(value) for name, value in lines}

    limit = float(api.settings.adapter_cache_size)
    async with api.app.router.lifespan_context(api.app):
        empty = {
            "loraplex_disk_cache_bytes": 0,
            "loraplex_disk_cache_limit_bytes": limit,
            "loraplex_disk_cache_entries": 0,
        }
        await until(lambda: told() == empty)
        await add(api)
        await until(lambda: told()["loraplex_disk_cache_entries"] == 1)
    await api.catalog.close()
    files = adapter_files() | {"chat_template.jinja": TEMPLATE}
    assert told()["loraplex_disk_cache_bytes"] == sum(map(len, files.values()))
