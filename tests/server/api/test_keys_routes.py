"""/v1/keys and /v1/usage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.api import Api, until
from support.tenants import bearer, make_key

from loraplex_server.tenants.usage import DAY_S, Amount, Slot

MakeApi = Callable[..., Api]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def api(make_api: MakeApi, state: Path) -> Api:
    return make_api(state_dir=state, admin_key=["admin"])


async def test_a_key_is_made_used_listed_and_revoked(api: Api) -> None:
    made = await api.ask("POST", "/v1/keys", {"tenant": "acme", "adapters": ["alpha"], "expires": "2999-01-01"})
    key = made.json()
    secret = key.pop("secret")
    assert (made.status_code, key["state"], key["adapters"], key["expires"]) == (
        201,
        "active",
        ["alpha"],
        32_472_144_000,
    )
    assert (await api.complete({"model": "alpha", "prompt": "x"}, **bearer(secret))).status_code == 200
    listed = (await api.ask("GET", "/v1/keys")).json()
    assert listed == {"object": "list", "data": [key]}
    gone = await api.ask("DELETE", f"/v1/keys/{key['id']}")
    assert (gone.status_code, gone.json()["state"]) == (200, "revoked")
    assert (await api.complete({"model": "alpha", "prompt": "x"}, **bearer(secret))).status_code == 401
    assert (await api.ask("DELETE", "/v1/keys/nobody")).status_code == 404


async def test_keys_are_for_admins(api: Api, state: Path) -> None:
    _, secret = make_key(state, "acme")
    for method, path in (("GET", "/v1/keys"), ("POST", "/v1/keys"), ("DELETE", "/v1/keys/x")):
        assert (await api.ask(method, path, {"tenant": "x"}, key=secret)).status_code == 403
        assert (await api.ask(method, path, {"tenant": "x"}, key=None)).status_code == 401


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "tenant"),
        ({"tenant": "a b"}, "tenant"),
        ({"tenant": "a", "rpm": 5}, "rpm"),
        ({"tenant": "a", "concurrency": "5"}, "concurrency"),
        ({"tenant": "a", "admin": True, "adapters": ["x"]}, "admin"),
        ({"tenant": "a", "expires": "soon"}, "expires"),
    ],
)
async def test_a_bad_wish_is_refused_by_name(api: Api, body: dict[str, Any], param: str) -> None:
    response = await api.ask("POST", "/v1/keys", body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_without_a_place_to_keep_them_there_are_no_keys(make_api: MakeApi, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("keys: []")
    for api in (make_api(admin_key=["admin"]), make_api(admin_key=["admin"], keys=file)):
        response = await api.ask("POST", "/v1/keys", {"tenant": "a"})
        assert (response.status_code, response.json()["error"]["code"]) == (409, "keys_not_kept")
        assert (await api.ask("GET", "/v1/keys")).json()["data"] == []


async def usage(api: Api, query: str = "", key: str = "admin") -> list[dict[str, Any]]:
    response = await api.get(f"/v1/usage?{query}", **bearer(key))
    assert response.status_code == 200, response.text
    return list(response.json()["data"])


async def test_each_sees_what_its_tenant_used(api: Api, state: Path) -> None:
    first, acme = make_key(state, "acme")
    other, second = make_key(state, "acme", requests_per_minute=1)
    _, globex = make_key(state, "globex")
    asked = time.time()
    for key in (acme, second, second, globex):  # the third is beyond its limit
        await api.complete({"model": "alpha", "prompt": [5, 6, 7], "max_tokens": 2}, **bearer(key))
    await api.complete({"prompt": [5], "max_tokens": 1}, **bearer(acme))
    await api.complete(
        {"prompt": [5], "adapters": [{"name": "gamma"}, {"name": "beta"}], "max_tokens": 1}, **bearer(acme)
    )
    await api.complete({"model": "nobody", "prompt": [5]}, **bearer(acme))
    await api.complete({"prompt": [5], "max_tokens": 1})
    rows = await usage(api, key=acme)
    assert [(row["adapter"], row["requests"], row["prompt_tokens"], row["output_tokens"]) for row in rows] == [
        ("alpha", 2, 6, 4),
        ("base", 1, 1, 1),
        ("beta+gamma", 1, 1, 1),
    ]
    assert [row["cached_tokens"] for row in rows] == [2, 1, 1]
    assert {row["tenant"] for row in rows} == {"acme"}
    assert rows[0]["start"] <= asked < rows[0]["start"] + 2 * DAY_S
    assert {row["key"] for row in rows} == {None}
    apart = await usage(api, "by_key=true", key=second)
    assert sorted((row["key"], row["adapter"], row["requests"]) for row in apart) == sorted(
        [(first, "alpha", 1), (other, "alpha", 1), (first, "base", 1), (first, "beta+gamma", 1)]
    )
    assert [row["tenant"] for row in await usage(api)] == ["acme"] * 3 + ["globex"]
    assert [row["tenant"] for row in await usage(api, "tenant=globex")] == ["globex"]
    assert await usage(api, "tenant=acme", key=acme) == rows
    for other in ("globex", "nobody"):
        response = await api.get(f"/v1/usage?tenant={other}", **bearer(acme))
        assert (response.status_code, response.json()["error"]["code"]) == (403, "not_admin")


async def test_a_client_that_hangs_up_pays_for_what_it_got(api: Api, state: Path) -> None:
    _, secret = make_key(state, "acme", tokens_per_minute=1000)
    api.engine.gate, api.engine.gate_after = asyncio.Event(), 1
    caller = asyncio.create_task(api.complete({"prompt": [5, 6, 7], "max_tokens": 100}, **bearer(secret)))
    await until(lambda: api.engine.held)  # the first token has been told
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    (row,) = await usage(api, key=secret)
    assert (row["requests"], row["prompt_tokens"], row["output_tokens"]) == (1, 3, 1)


@pytest.mark.parametrize(
    ("path", "body", "output"),
    [
        ("/v1/completions", {"prompt": [[5, 6], [7]], "n": 2, "max_tokens": 1}, 4),
        ("/v1/completions", {"prompt": [[5, 6], [7]], "n": 2, "max_tokens": 1, "stream": True}, 4),
        ("/v1/responses", {"input": "x", "max_output_tokens": 2}, 2),
        ("/v1/messages", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}, 2),
        ("/v1/embeddings", {"input": [5, 6, 7]}, 0),
        ("/generate", {"inputs": "x", "parameters": {"max_new_tokens": 2}}, 2),
        ("/completion", {"prompt": "x", "n_predict": 2}, 2),
    ],
)
async def test_every_route_that_answers_is_metered(
    api: Api, state: Path, path: str, body: dict[str, Any], output: int
) -> None:
    _, secret = make_key(state, "acme", tokens_per_minute=1000)
    api.services.tenancy.limiter.clock = lambda: 0.0
    answer = await api.post(path, body, bearer(secret))
    assert answer.status_code == 200, answer.text
    (row,) = await usage(api, key=secret)
    prompt = sum(len(request.prompt_token_ids) for request in api.engine.requests)
    assert (row["requests"], row["prompt_tokens"], row["output_tokens"]) == (1, prompt, output)
    left = (await api.post("/tokenize", {"prompt": "x"}, bearer(secret))).headers["x-ratelimit-remaining-tokens"]
    assert int(left) == 1000 - prompt - output


async def test_usage_is_paged_and_cut_by_time(api: Api) -> None:
    book, today = api.services.tenancy.usage, int(time.time()) // DAY_S * DAY_S
    for day in range(40):
        book.count(Slot(today - day * DAY_S, "acme", "", "a/b"), Amount(1, day))
    assert len(await usage(api)) == 31
    assert len(await usage(api, "since=0")) == 40
    assert [row["prompt_tokens"] for row in await usage(api, f"since={today - 2 * DAY_S}&until={today}")] == [2, 1]
    found, after = [], ""
    while after is not None:
        page = (await api.get(f"/v1/usage?since=1970-01-01&limit=7{after}", **bearer("admin"))).json()
        found += page["data"]
        after = f"&after={page['next']}" if page["next"] is not None else None
    assert found == await usage(api, "since=0")


@pytest.mark.parametrize(
    ("query", "param"),
    [("since=soon", "since"), ("until=-1", "until"), ("by=week", "by"), ("limit=0", "limit"), ("after=x", "after")],
)
async def test_a_bad_question_is_refused_by_name(api: Api, query: str, param: str) -> None:
    response = await api.get(f"/v1/usage?{query}")
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_without_keys_all_usage_is_one_tenants(make_api: MakeApi) -> None:
    api = make_api()
    await api.complete({"prompt": [5], "max_tokens": 1})
    ((row,),) = [(await api.get("/v1/usage")).json()["data"]]
    assert (row["tenant"], row["adapter"], row["requests"]) == ("default", "base", 1)


async def test_usage_survives_a_restart(make_api: MakeApi, state: Path) -> None:
    rows = []
    for _ in range(2):
        api = make_api(state_dir=state)
        await api.complete({"prompt": [5], "max_tokens": 1})
        rows.append((await api.get("/v1/usage")).json()["data"][0]["requests"])
        api.services.tenancy.close()
        await api.catalog.close()
    assert rows == [1, 2]
