"""What GET /v1/adapters says of adapters."""

from __future__ import annotations

from typing import Any

import pytest
from support.api import Api

from loraplex_adapters.report import AdapterEntry
from loraplex_server.engine.interface import AdapterUnusableError
from loraplex_server.engine.messages import AdapterStats, EngineStats

KEYS = {
    *("name", "object", "aliases", "source", "pinned", "state", "tier", "generation", "generation_short"),
    *("disk_bytes", "memory_bytes", "in_flight", "last_used", "created", "error"),
}


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
