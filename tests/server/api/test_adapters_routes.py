"""/v1/adapters: what is said of adapters, and how they are added, changed and removed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.api import Api, until

from loraplex_adapters.errors import SourceUnavailableError
from loraplex_adapters.source import AdapterSource
from loraplex_server.api.schemas.adapters import AddAdapter
from loraplex_server.engine.interface import AdapterUnusableError, EngineDeadError, PreparedAdapter


@pytest.fixture
def api(admin_api: Api) -> Api:
    return admin_api


async def add(api: Api, name: str, source: Path | str, **more: Any) -> Any:
    return await api.ask("POST", "/v1/adapters", {"name": name, "source": str(source), **more})


async def get(api: Api, name: str) -> Any:
    return (await api.ask("GET", f"/v1/adapters/{name}")).json()


async def test_without_an_admin_key_nothing_can_be_changed(make_api: Callable[..., Api], places: Path) -> None:
    api = make_api(allow_adapter_source=[str(places)])
    body = {"name": "new", "source": str(places / "one")}
    for method, path in (
        ("POST", "/v1/adapters"),
        ("PATCH", "/v1/adapters/alpha"),
        ("DELETE", "/v1/adapters/alpha"),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
    ):
        for key in ("any", "", None):
            response = await api.ask(method, path, body, key)
            assert (response.status_code, response.json()["error"]["code"]) == (403, "admin_disabled"), (path, key)
            assert "--admin-key" in response.json()["error"]["message"]
    assert (await api.get("/v1/adapters")).status_code == 200


async def test_only_the_admin_key_may_change(make_api: Callable[..., Api], places: Path) -> None:
    api = make_api(admin_key=["admin"], api_key=["user"], allow_adapter_source=[str(places)])
    body = {"name": "new", "source": str(places / "one")}
    statuses = [(await api.ask("POST", "/v1/adapters", body, key)).status_code for key in (None, "no", "user", "admin")]
    assert statuses == [401, 401, 403, 201]
    statuses = [(await api.ask("GET", "/v1/adapters", key=key)).status_code for key in (None, "user", "admin")]
    assert statuses == [401, 200, 200]
    assert (await api.ask("GET", "/v1/adapters/new", key="user")).json()["source"] == {"kind": "folder"}
    assert (await api.ask("GET", "/v1/adapters/new")).json()["source"]["location"] == str(places / "one")
    assert (await api.ask("POST", "/v1/completions", {"prompt": "x", "model": "new"}, "admin")).status_code == 200


async def test_with_the_admin_key_alone_others_may_ask(api: Api) -> None:
    assert (await api.complete({"prompt": "x"})).status_code == 200
    assert (await api.ask("POST", "/v1/adapters", {}, None)).status_code == 401


async def test_what_is_added_is_loaded_and_answers(api: Api, places: Path) -> None:
    response = await add(api, "new", places / "one", aliases=["latest", "prod"])
    assert response.status_code == 201
    body = response.json()
    assert (body["name"], body["aliases"], body["pinned"]) == ("new", ["latest", "prod"], False)
    ((source, pin),) = api.engine.prepared
    assert (source.path, pin) == (str(places / "one"), False)
    assert body["generation"] == f"generation of {source.path} {source.fingerprint}"
    for name in ("new", "latest"):
        answer = (await api.complete({"prompt": "x", "model": name, "max_tokens": 50})).json()
        assert (answer["model"], answer["choices"][0]["text"]) == (name, "hello from new 0")
    listed = {card["id"]: card for card in (await api.get("/v1/models")).json()["data"]}
    assert {"new", "latest", "prod"} < set(listed)
    assert (listed["latest"]["root"], listed["latest"]["parent"]) == ("new", "test-model")
    assert (await api.get("/v1/models/prod")).json()["root"] == "new"
    assert (await get(api, "prod"))["name"] == "new"


async def test_adding_the_same_again_is_no_error(api: Api, places: Path) -> None:
    assert (await add(api, "new", places / "one")).status_code == 201
    assert (await add(api, "new", places / "one")).status_code == 200
    conflict = await add(api, "new", places / "two")
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "adapter_conflict")
    assert (await add(api, "new", places / "two", replace=True)).status_code == 200
    assert (await get(api, "new"))["source"]["location"] == str(places / "two")


async def test_a_bad_one_is_refused_and_changes_nothing(api: Api, places: Path) -> None:
    await add(api, "new", places / "one", pinned=True)
    api.engine.refusals["new"] = api.engine.refusals["other"] = AdapterUnusableError("adapter is refused: bad")
    for name in ("new", "other"):
        response = await add(api, name, places / "two", replace=True)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "adapter_refused")
    assert (await get(api, "new"))["source"]["location"] == str(places / "one")
    assert (await api.get("/v1/adapters/other")).status_code == 404


async def test_without_preload_nothing_is_loaded(api: Api, places: Path) -> None:
    assert (await add(api, "new", places / "one", preload=False)).status_code == 201
    assert api.engine.prepared == []
    assert (await add(api, "other", places / "one", preload=False, pinned=True)).status_code == 400


async def test_while_the_engine_is_away_nothing_is_added(api: Api, places: Path) -> None:
    api.engine.refusals["new"] = EngineDeadError("the engine is being restarted")
    response = await add(api, "new", places / "one")
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert (await api.get("/v1/adapters/new")).status_code == 404


@pytest.mark.parametrize(
    ("name", "source", "status", "code"),
    [
        ("new", "/etc", 403, "source_not_allowed"),
        ("new", "{places}/../adapters/alpha", 403, "source_not_allowed"),
        ("new", "s3://bucket/x", 403, "source_not_allowed"),
        ("new", "no place", 403, "source_not_allowed"),
        ("new", "{places}/none", 404, "source_not_found"),
        ("../new", "{places}/one", 400, "invalid_adapter_name"),
        (".new", "{places}/one", 400, "invalid_adapter_name"),
        ("base", "{places}/one", 409, "adapter_conflict"),
        ("test-model", "{places}/one", 409, "adapter_conflict"),
        ("alpha", "{places}/one", 409, "adapter_conflict"),
        ("", "{places}/one", 400, None),
    ],
)
async def test_names_and_sources_are_checked(
    api: Api, places: Path, name: str, source: str, status: int, code: str | None
) -> None:
    response = await add(api, name, source.format(places=places))
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert api.engine.prepared == []


async def test_an_alias_that_cannot_be_undoes_the_addition(api: Api, places: Path) -> None:
    assert (await add(api, "new", places / "one", aliases=["fine", "alpha"])).status_code == 409
    names = [card["id"] for card in (await api.get("/v1/models")).json()["data"]]
    assert names == ["test-model", "alpha", "beta", "gamma"]


async def test_aliases_are_changed_and_move(api: Api, places: Path) -> None:
    await add(api, "v1", places / "one", aliases=["prod", "old"])
    await add(api, "v2", places / "two")
    moved = await api.ask("PATCH", "/v1/adapters/v2", {"aliases": ["prod"]})
    assert moved.json()["aliases"] == ["prod"]
    assert (await get(api, "v1"))["aliases"] == ["old"]
    await api.complete({"prompt": "x", "model": "prod"})
    assert api.engine.requests[-1].adapters[0].source.name == "v2"
    refused = await api.ask("PATCH", "/v1/adapters/v2", {"aliases": ["third", "v1"]})
    assert refused.status_code == 409
    assert (await get(api, "v2"))["aliases"] == ["prod"]
    assert (await api.ask("PATCH", "/v1/adapters/v2", {"aliases": []})).json()["aliases"] == []
    assert (await api.complete({"prompt": "x", "model": "prod"})).status_code == 404


async def test_two_names_of_one_adapter_cannot_be_added_up(api: Api) -> None:
    await api.ask("PATCH", "/v1/adapters/alpha", {"aliases": ["a"]})
    response = await api.complete({"prompt": "x", "adapters": [{"name": "alpha"}, {"name": "a"}]})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "adapters")


async def test_pins_are_set_and_taken_away(api: Api) -> None:
    assert (await api.ask("PATCH", "/v1/adapters/alpha", {"pinned": True})).json()["pinned"] is True
    assert set(api.engine.pins) == {"alpha"}
    assert (await api.ask("PATCH", "/v1/adapters/alpha", {})).json()["pinned"] is True
    assert (await api.ask("PATCH", "/v1/adapters/alpha", {"pinned": False})).json()["pinned"] is False
    assert api.engine.pins == {}
    api.engine.refusals["beta"] = AdapterUnusableError("no room")
    assert (await api.ask("PATCH", "/v1/adapters/beta", {"pinned": True})).status_code == 400
    assert (await get(api, "beta"))["pinned"] is False


async def test_what_is_removed_is_gone_and_folders_stay(api: Api, places: Path) -> None:
    await add(api, "new", places / "one", aliases=["prod"], pinned=True)
    gone = await api.ask("DELETE", "/v1/adapters/prod")
    assert (gone.status_code, gone.json()) == (200, {"name": "prod", "object": "adapter", "deleted": True})
    assert (await api.ask("DELETE", "/v1/adapters/new")).status_code == 200
    assert api.engine.pins == {}
    assert (await api.ask("DELETE", "/v1/adapters/new")).status_code == 404
    assert (await api.complete({"prompt": "x", "model": "new"})).status_code == 404
    assert (await api.ask("DELETE", "/v1/adapters/alpha")).status_code == 409


async def test_a_request_in_flight_outlives_its_adapters_name(api: Api, places: Path) -> None:
    await add(api, "new", places / "one")
    api.engine.gate, api.engine.gate_after = asyncio.Event(), 1
    asked = asyncio.create_task(api.complete({"prompt": "x", "model": "new", "max_tokens": 50}))
    await until(lambda: api.engine.requests)
    await api.ask("DELETE", "/v1/adapters/new")
    api.engine.gate.set()
    assert (await asked).json()["choices"][0]["text"] == "hello from new 0"


async def test_the_registry_survives_a_restart(make_api: Callable[..., Api], places: Path, tmp_path: Path) -> None:
    settings = {"admin_key": ["admin"], "allow_adapter_source": [str(places)], "state_dir": tmp_path / "state"}
    before = make_api(**settings)
    await add(before, "new", places / "one", aliases=["prod"], pinned=True)
    await before.catalog.close()
    after = make_api(**settings)
    body = await get(after, "prod")
    assert (body["name"], body["aliases"], body["pinned"], body["state"]) == ("new", ["prod"], True, "on_disk")
    assert (await after.complete({"prompt": "x", "model": "prod"})).status_code == 200
    await after.catalog.close()


async def test_a_source_that_is_no_longer_allowed_or_there_is_told(
    make_api: Callable[..., Api], places: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    before = make_api(admin_key=["admin"], allow_adapter_source=[str(places)], state_dir=state)
    await add(before, "new", places / "one")
    shutil.rmtree(places / "one")
    assert (await before.complete({"prompt": "x", "model": "new"})).json()["error"]["code"] == "source_not_found"
    body = await get(before, "new")
    assert (body["state"], body["tier"]) == ("error", "remote")
    assert "is no folder" in body["error"]
    await before.catalog.close()
    after = make_api(state_dir=state)
    assert (await after.complete({"prompt": "x", "model": "new"})).json()["error"]["code"] == "source_not_allowed"
    await after.catalog.close()


async def test_a_source_that_is_down_asks_for_patience(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(name: str) -> None:
        raise SourceUnavailableError("the bucket does not answer")

    monkeypatch.setattr(api.catalog, "open", down)
    response = await api.complete({"prompt": "x", "model": "alpha"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "source_unavailable")
    assert int(response.headers["retry-after"]) >= 1


async def test_the_schema_documents_the_routes(api: Api) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    post = paths["/v1/adapters"]["post"]
    assert post["responses"]["201"]["content"]["application/json"]["example"]["name"] == "sql"
    assert {"get", "patch", "delete"} == set(paths["/v1/adapters/{name}"])
    assert "409" in post["responses"]
    schemas = (await api.get("/openapi.json")).json()["components"]["schemas"]
    assert schemas["AddAdapter"]["examples"][0]["source"] == "org/llama-sql@v2"


async def test_what_is_refused_after_it_was_loaded_leaves_no_pin(api: Api, places: Path) -> None:
    await add(api, "new", places / "one")
    for body in ({"pinned": True, "aliases": ["alpha"]}, {"pinned": True, "aliases": ["prod", "../x"]}):
        assert (await api.ask("PATCH", "/v1/adapters/new", body)).status_code in (400, 409)
        assert (api.engine.pins, (await get(api, "new"))["pinned"]) == ({}, False)
    response = await add(api, "new", places / "two", replace=True, pinned=True, aliases=["alpha"])
    assert (response.status_code, response.json()["error"]["code"]) == (409, "adapter_conflict")
    assert (await get(api, "new"))["source"]["location"] == str(places / "one")
    assert api.engine.pins == {}


async def test_who_leaves_while_an_adapter_is_pinned_leaves_no_pin(
    api: Api, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, entered = api.engine.prepare, asyncio.Event()

    async def pinned_late(source: AdapterSource, *, pin: bool) -> PreparedAdapter:
        prepared = await prepare(source, pin=pin)  # the engine has it, and its word is on the way
        entered.set()
        await asyncio.Event().wait()
        return prepared

    await add(api, "old", places / "one", pinned=True)
    await api.services.keeper.look()
    before = dict(api.engine.pins)
    monkeypatch.setattr(api.engine, "prepare", pinned_late)
    for name in ("new", "old"):
        entered.clear()
        body = AddAdapter(name=name, source=str(places / "two"), pinned=True, replace=True)
        adding = asyncio.create_task(api.services.admin.add(body))
        await entered.wait()
        adding.cancel()
        await asyncio.wait({adding})
        assert adding.cancelled()
        assert name not in api.engine.pins
    monkeypatch.setattr(api.engine, "prepare", prepare)
    await api.services.keeper.look()
    assert api.engine.pins == before
