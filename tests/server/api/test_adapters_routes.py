"""/v1/adapters: what is said of adapters, and how they are added, changed and removed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.api import Api, write_adapters
from support.fake_engine import FakeEngine

from loraplex_adapters.errors import SourceUnavailableError
from loraplex_adapters.report import AdapterEntry
from loraplex_server.engine.interface import AdapterUnusableError, EngineDeadError
from loraplex_server.engine.messages import AdapterStats, EngineStats

KEYS = {
    *("name", "object", "aliases", "source", "pinned", "state", "tier", "generation", "generation_short"),
    *("disk_bytes", "memory_bytes", "in_flight", "last_used", "created", "error"),
}


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Folders that may be added by their path."""
    return write_adapters(tmp_path / "places", "one", "two")


@pytest.fixture
def api(make_api: Callable[..., Api], places: Path) -> Api:
    return make_api(admin_key=["admin"], allow_adapter_source=[str(places)])


def entry(name: str, **fields: Any) -> AdapterEntry:
    known = {
        "generation": "ab" * 32,
        "tier": "device",
        "nbytes": 500,
        "in_flight": 2,
        "last_used": 9.5,
        "pinned": False,
    }
    return AdapterEntry(name=name, **(known | fields))


def tell(api: Api, *entries: AdapterEntry) -> None:
    api.engine.stats = EngineStats(adapters=AdapterStats(entries=entries))


async def add(api: Api, name: str, source: Path | str, **more: Any) -> Any:
    return await api.ask("POST", "/v1/adapters", {"name": name, "source": str(source), **more})


async def get(api: Api, name: str) -> Any:
    return (await api.ask("GET", f"/v1/adapters/{name}")).json()


async def test_folders_of_the_catalogue_are_listed(api: Api) -> None:
    body = (await api.get("/v1/adapters")).json()
    assert [each["name"] for each in body["data"]] == ["alpha", "beta", "gamma"]
    assert body["next"] is None
    alpha = body["data"][0]
    assert set(alpha) == KEYS
    assert (alpha["state"], alpha["tier"], alpha["disk_bytes"]) == ("on_disk", "disk", 2)
    assert (alpha["source"], alpha["generation"], alpha["error"]) == ({"kind": "catalog"}, None, None)
    assert (await api.get("/v1/adapters/alpha")).json() == alpha
    assert (await api.get("/v1/adapters/nobody")).json()["error"]["code"] == "model_not_found"


async def test_what_the_engine_says_is_shown(api: Api) -> None:
    tell(
        api,
        entry("alpha"),
        entry("alpha", generation="cd" * 32, tier="loading", in_flight=1, last_used=11.0),
        entry("beta", tier="waiting", generation="", nbytes=0),
        entry("gamma", tier="host"),
    )
    alpha, beta, gamma = (await api.get("/v1/adapters")).json()["data"]
    assert (alpha["state"], alpha["tier"], alpha["memory_bytes"], alpha["in_flight"]) == ("device", "device", 500, 3)
    assert (alpha["generation"], alpha["generation_short"], alpha["last_used"]) == ("ab" * 32, "abababababab", 11.0)
    assert (beta["state"], beta["tier"], beta["memory_bytes"], beta["generation"]) == ("loading", "disk", None, None)
    assert (gamma["state"], gamma["tier"]) == ("host", "host")
    names = [each["name"] for each in (await api.get("/v1/adapters?state=host&state=loading")).json()["data"]]
    assert names == ["beta", "gamma"]


async def test_a_listing_comes_in_pages(api: Api) -> None:
    first = (await api.get("/v1/adapters?limit=2")).json()
    assert ([each["name"] for each in first["data"]], first["next"]) == (["alpha", "beta"], "beta")
    second = (await api.get("/v1/adapters?limit=2&after=beta")).json()
    assert ([each["name"] for each in second["data"]], second["next"]) == (["gamma"], None)


@pytest.mark.parametrize(("query", "param"), [("limit=0", "limit"), ("limit=x", "limit"), ("state=gone", "state")])
async def test_a_bad_query_is_named(api: Api, query: str, param: str) -> None:
    response = await api.get(f"/v1/adapters?{query}")
    assert response.status_code == 400
    assert param in response.json()["error"]["message"]


async def test_an_answers_generation_is_remembered(api: Api) -> None:
    api.engine.generation = "ef" * 32
    await api.complete({"prompt": "x", "model": "alpha"})
    assert (await get(api, "alpha"))["generation"] == "ef" * 32
    sum_of = [{"name": "beta"}, {"name": "gamma"}]
    api.engine.generation = "01" * 32 + "+" + "23" * 32
    await api.complete({"prompt": "x", "adapters": sum_of})
    assert (await get(api, "gamma"))["generation"] == "23" * 32


async def test_why_an_adapter_was_refused_is_shown_until_it_is_served(api: Api) -> None:
    api.engine.failure = AdapterUnusableError("adapter 'alpha' is refused: it is bad")
    assert (await api.complete({"prompt": "x", "model": "alpha"})).status_code == 400
    alpha = await get(api, "alpha")
    assert (alpha["state"], alpha["error"]) == ("error", "adapter 'alpha' is refused: it is bad")
    api.engine.failure = None
    await api.complete({"prompt": "x", "model": "alpha"})
    assert (await get(api, "alpha"))["error"] is None


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
    for _ in range(1000):
        await asyncio.sleep(0 if api.engine.requests else 0.001)
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


LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


async def test_vllms_routes_have_its_answers(api: Api, places: Path) -> None:
    body = {"lora_name": "new", "lora_path": str(places / "one")}
    for _ in range(2):  # clients retry
        response = await api.ask("POST", LOAD, body)
        assert (response.status_code, response.text) == (200, "Success: LoRA adapter 'new' added successfully.")
        assert response.headers["content-type"].startswith("text/plain")
    other = {**body, "lora_path": str(places / "two")}
    response = await api.ask("POST", LOAD, other)
    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": "The lora adapter 'new' has already been loaded. If you want to load the adapter in place, set "
        "'load_inplace' to True.",
        "type": "InvalidUserInput",
        "param": None,
        "code": 400,
    }
    assert (await api.ask("POST", LOAD, {**other, "load_inplace": True})).status_code == 200
    response = await api.ask("POST", UNLOAD, {"lora_name": "new", "lora_int_id": None})
    assert (response.status_code, response.text) == (200, "Success: LoRA adapter 'new' removed successfully.")
    response = await api.ask("POST", UNLOAD, {"lora_name": "new"})
    assert (response.status_code, response.json()["error"]["type"]) == (404, "NotFoundError")
    assert response.json()["error"]["message"] == "The lora adapter 'new' cannot be found."


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (LOAD, {"lora_name": "", "lora_path": "x"}, 400, "Both 'lora_name' and 'lora_path' must be provided."),
        (LOAD, {"lora_name": "x"}, 400, "Both 'lora_name' and 'lora_path' must be provided."),
        (
            LOAD,
            {"lora_name": "test-model", "lora_path": "x/y"},
            400,
            "The lora adapter 'test-model' conflicts with a served base model.",
        ),
        (LOAD, {"lora_name": "alpha", "lora_path": "{places}/one"}, 400, "'alpha' is a folder"),
        (LOAD, {"lora_name": "new", "lora_path": "{places}/none"}, 404, "is no folder"),
        (LOAD, {"lora_name": "new", "lora_path": "x/y", "is_3d_lora_weight": True}, 400, "is_3d_lora_weight"),
        (UNLOAD, {}, 400, "'lora_name' needs to be provided to unload a LoRA adapter."),
        (UNLOAD, {"lora_name": "alpha"}, 400, "folder"),
    ],
)
async def test_vllms_routes_refuse_as_it_does(
    api: Api, places: Path, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    body = {name: value.format(places=places) if isinstance(value, str) else value for name, value in body.items()}
    response = await api.ask("POST", path, body)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


async def test_vllms_load_refuses_what_cannot_be_served_as_the_clients_fault(api: Api, places: Path) -> None:
    api.engine.refusals["new"] = AdapterUnusableError("adapter 'new' is refused: rank")
    response = await api.ask("POST", LOAD, {"lora_name": "new", "lora_path": str(places / "one")})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "adapter_refused")


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
