"""Whose request it is: by which header it says so, and what this process may ask in somebody's name."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from support.api import Api

from loraplex_server.api.access.caller import ANYONE, Caller, acting_as
from loraplex_server.engine.messages import Share
from loraplex_server.tenants.patterns import Patterns

MakeApi = Callable[..., Api]
ACME = Caller(tenant="acme", key_id="k", adapters=Patterns(["alpha"]), weight=2.0, priority=-1)


def client_as(api: Api, caller: Caller) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(acting_as(api.app, caller)), base_url="http://test")


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "X-API-Key"])
async def test_other_clients_headers_open_too(make_api: MakeApi, name: str) -> None:
    api = make_api(api_key=["one"])
    assert (await api.complete({"prompt": "x"}, **{name: "one"})).status_code == 200
    assert (await api.complete({"prompt": "x"}, **{name: "two"})).status_code == 401
    assert (await api.complete({"prompt": "x"}, **{name: "one", "authorization": "Bearer two"})).status_code == 401
    assert (await api.complete({"prompt": "x"}, **{name: "one", "authorization": "Basic two"})).status_code == 200


@pytest.mark.parametrize("path", ["/", "/generate", "/completion", "/lora-adapters", "/metrics/", "/v2/x", "/health/x"])
async def test_whatever_is_not_known_to_be_open_needs_a_key(make_api: MakeApi, path: str) -> None:
    api = make_api(api_key=["one"])
    assert (await api.get(path)).status_code == 401
    assert (await api.get(path, authorization="Bearer one")).status_code in (200, 404, 405)


async def test_the_schema_says_how_to_send_a_key(api: Api) -> None:
    document = api.app.openapi()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "x-api-key", "api-key"}
    asking = document["paths"]["/v1/chat/completions"]["post"]["security"]
    assert asking == [{"bearer": []}, {"x-api-key": []}, {"api-key": []}, {}]
    assert "security" not in document["paths"]["/health"]["get"]


async def test_an_admin_key_alone_leaves_asking_open(make_api: MakeApi) -> None:
    api = make_api(admin_key=["boss"])
    assert (await api.complete({"prompt": "x"})).status_code == 200
    assert (await api.complete({"prompt": "x"}, authorization="Bearer nonsense")).status_code == 200


async def test_the_process_asks_in_somebodys_name_without_a_key(make_api: MakeApi) -> None:
    api = make_api(api_key=["one"])
    async with client_as(api, ACME) as client:
        assert (await client.post("/v1/completions", json={"model": "alpha", "prompt": "x"})).status_code == 200
        assert (await client.post("/v1/completions", json={"model": "beta", "prompt": "x"})).status_code == 404
    (request,) = api.engine.requests
    assert request.share == Share(tenant="acme", weight=2.0, priority=-1)


async def test_no_header_and_no_query_makes_somebody_else(make_api: MakeApi) -> None:
    api = make_api(api_key=["one"])
    response = await api.post("/v1/completions?loraplex.caller=x", {"prompt": "x"}, {"loraplex.caller": "x"})
    assert response.status_code == 401


def test_anyone_may_use_all_and_administer_nothing() -> None:
    assert ANYONE.may_use("alpha")
    assert ANYONE.may_use_base
    assert not ANYONE.admin
    assert ANYONE.share_for(None) == Share()
    assert Caller(admin=True, adapters=Patterns([])).may_use("alpha")
    assert not ACME.may_use_base
