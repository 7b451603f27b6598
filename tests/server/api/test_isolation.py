"""Of another tenant's adapters a key is told what it is told of names that nobody has, on every route there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.api import Api, events, streamed_text, until
from support.tenants import bearer, make_key, revoke_key

from loraplex_server.api.access.caller import Caller
from loraplex_server.api.process.inside import inside_client
from loraplex_server.tenants.patterns import Patterns

MakeApi = Callable[..., Api]

# Another's adapter, its alias and the base model, each with a name of the same length that nobody has.
HIDDEN = [("beta", "zeta"), ("prod", "prox"), ("base", "bass"), ("test-model", "nest-model"), ("gamma", "gamme")]
NOBODYS_BUSINESS = ("beta", "gamma", "prod", "globex")
NAME = "@"
# What requests look like that name an adapter; each is sent to every route, whether it takes it or not.
SHAPES: list[dict[str, Any]] = [
    {"model": NAME, "prompt": "x", "max_tokens": 2},
    {"model": NAME, "prompt": "x", "max_tokens": 2, "stream": True},
    {"prompt": "x", "max_tokens": 2, "adapters": [{"name": NAME}]},
    {"model": NAME, "messages": [{"role": "user", "content": "x"}], "max_tokens": 2},
    {"model": NAME, "messages": [{"role": "user", "content": "x"}]},
    {"model": NAME, "input": "x"},
    {"model": NAME, "tokens": [5]},
    {"inputs": "x", "parameters": {"adapter_id": NAME, "max_new_tokens": 2}},
    {"inputs": "x", "parameters": {"merged_adapters": {"ids": [NAME], "weights": [1.0]}, "max_new_tokens": 2}},
    {"inputs": "x", "parameters": {"adapter_id": NAME}},
    {"name": NAME, "source": "org/name"},
    {"lora_name": NAME, "lora_path": "org/name"},
    {"aliases": [NAME]},
    {"model": NAME, "prompt": "x", "n_predict": 2},
    {"prompt": "x", "model": NAME, "adapter_id": NAME},
]
# Routes that name no adapter, or that are for admins.
OTHERS = (
    "/v1/adapters", "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/keys", "/v1/files", "/v1/batches",
    "/lora-adapters", "/v1/responses/",
)  # fmt: skip
CHANGING = {"x-request-id", "request-id", "openai-processing-ms", "date", "x-ratelimit-reset-requests"}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def api(make_api: MakeApi, state: Path) -> Api:
    api = make_api(state_dir=state)
    api.catalog.change("beta", aliases=["prod"])
    api.catalog.change("alpha", aliases=["mine"])
    return api


def operations(api: Api) -> Iterator[tuple[str, str]]:
    for path, methods in api.app.openapi()["paths"].items():
        for method in methods:
            yield method.upper(), path


def with_name(shape: Any, name: str) -> Any:
    if isinstance(shape, dict):
        return {key: with_name(value, name) for key, value in shape.items()}
    if isinstance(shape, list):
        return [with_name(value, name) for value in shape]
    return name if shape == NAME else shape


def requests(method: str, path: str, name: str) -> Iterator[tuple[str, Any]]:
    """Addresses and bodies that ask for a name."""
    address = path.replace("{name}", name).replace("{id}", name)
    if method in ("GET", "DELETE"):
        yield f"{address}?tenant={name}&after={name}", None
        yield address, None
    else:
        for shape in SHAPES:
            yield address, with_name(shape, name)


def seen(response: httpx.Response, name: str) -> tuple[int, str, dict[str, str]]:
    headers = {key: value for key, value in response.headers.items() if key not in CHANGING}
    text = response.text.replace('"parent":"test-model"', "")  # whose adapter it is, its owner is told
    return response.status_code, text.replace(name, NAME), headers


@pytest.mark.parametrize(("hidden", "nobodys"), HIDDEN)
async def test_no_route_tells_what_is_hidden_from_what_is_not_there(
    api: Api, state: Path, hidden: str, nobodys: str
) -> None:
    _, secret = make_key(state, "acme", adapters=["alpha"])
    make_key(state, "globex", adapters=["beta", "gamma"])
    async with api.client() as client:
        for method, path in operations(api):
            for (address, body), (other, same) in zip(
                requests(method, path, hidden), requests(method, path, nobodys), strict=True
            ):
                there = await client.request(method, address, json=body, headers=bearer(secret))
                absent = await client.request(method, other, json=same, headers=bearer(secret))
                assert seen(there, hidden) == seen(absent, nobodys), (method, address, body)
                told = there.text.replace(hidden, NAME)
                assert not [word for word in NOBODYS_BUSINESS if word in told], (method, address, told)
    assert api.engine.requests == []


async def test_who_may_use_the_base_is_told_no_more_of_adapters_in_sums(api: Api, state: Path) -> None:
    _, secret = make_key(state, "acme", adapters=["alpha", "base"])
    for shape in (SHAPES[2], SHAPES[8]):
        path = "/generate" if "inputs" in shape else "/v1/completions"
        there, absent, own = [
            await api.post(path, with_name(shape, name), bearer(secret)) for name in ("beta", "zeta", "alpha")
        ]
        assert seen(there, "beta") == seen(absent, "zeta")
        assert own.status_code == 200, own.text
    assert [use.source.name for request in api.engine.requests for use in request.adapters] == ["alpha", "alpha"]


async def test_a_sum_takes_the_base_to_be_allowed(api: Api, state: Path) -> None:
    """For its weights may be zero."""
    _, secret = make_key(state, "acme", adapters=["alpha"])
    response = await api.complete({"prompt": "x", "adapters": [{"name": "alpha", "weight": 0.0}]}, **bearer(secret))
    assert response.status_code == 404


async def test_the_walk_above_reaches_every_route_that_names_an_adapter(api: Api, state: Path) -> None:
    """Else it would prove nothing: each route answers one of its requests, asked for the caller's own adapter."""
    _, secret = make_key(state, "acme", adapters=["alpha"])
    unreached = []
    async with api.client() as client:
        for method, path in operations(api):
            if method != "POST" or path.startswith(OTHERS):
                continue
            answers = [
                await client.post(address, json=body, headers=bearer(secret))
                for address, body in requests(method, path, "alpha")
            ]
            if not any(answer.status_code == 200 for answer in answers):
                unreached.append((path, [answer.text for answer in answers]))
    assert not unreached, "how do they name an adapter? say so in SHAPES"


async def test_lists_hold_what_the_key_may_use(api: Api, state: Path) -> None:
    _, acme = make_key(state, "acme", adapters=["al*"])
    _, globex = make_key(state, "globex", adapters=["beta", "gamma", "base"])
    _, nobody = make_key(state, "nobody", adapters=["none-*"])
    _, boss = make_key(state, "ops", admin=True)
    listed: dict[str, tuple[list[str], list[str]]] = {}
    for name, key in (("acme", acme), ("globex", globex), ("nobody", nobody), ("boss", boss)):
        models = (await api.get("/v1/models", **bearer(key))).json()["data"]
        adapters = (await api.get("/v1/adapters", **bearer(key))).json()["data"]
        listed[name] = [each["id"] for each in models], [each["name"] for each in adapters]
    assert listed == {
        "acme": (["alpha", "mine"], ["alpha"]),
        "globex": (["test-model", "beta", "gamma", "prod"], ["beta", "gamma"]),
        "nobody": ([], []),
        "boss": (["test-model", "alpha", "beta", "gamma", "mine", "prod"], ["alpha", "beta", "gamma"]),
    }
    assert (await api.get("/v1/adapters/prod", **bearer(globex))).json()["aliases"] == ["prod"]


async def test_an_alias_is_allowed_where_its_adapter_is(api: Api, state: Path) -> None:
    _, by_alias = make_key(state, "a", adapters=["prod"])
    _, by_name = make_key(state, "b", adapters=["beta"])
    body = {"model": "prod", "prompt": "x"}
    assert (await api.complete(body, **bearer(by_alias))).status_code == 404
    assert (await api.complete(body, **bearer(by_name))).status_code == 200
    api.catalog.change("gamma", aliases=["prod"])  # another's now
    assert (await api.complete(body, **bearer(by_name))).status_code == 404


async def test_numbers_of_adapters_tell_nothing_of_others(api: Api, state: Path) -> None:
    _, acme = make_key(state, "acme", adapters=["gamma", "base"])
    _, boss = make_key(state, "ops", admin=True)
    assert [each["path"] for each in (await api.get("/lora-adapters", **bearer(boss))).json()] == [
        "alpha",
        "beta",
        "gamma",
    ]
    assert [(each["id"], each["path"]) for each in (await api.get("/lora-adapters", **bearer(acme))).json()] == [
        (0, "gamma")
    ]
    asked = [
        await api.post("/completion", {"prompt": "x", "n_predict": 2, "lora": [{"id": id, "scale": 1.0}]}, bearer(acme))
        for id in (0, 1, 7)
    ]
    assert [answer.status_code for answer in asked] == [200, 404, 404]
    assert seen(asked[1], "1") == seen(asked[2], "7")
    assert [use.source.name for request in api.engine.requests for use in request.adapters] == ["gamma"]


async def test_a_key_that_is_revoked_meanwhile_gets_what_it_was_promised(api: Api, state: Path) -> None:
    id, secret = make_key(state, "acme", adapters=["alpha"])
    api.engine.gate, api.engine.gate_after = asyncio.Event(), 1
    body = {"model": "alpha", "prompt": "x", "stream": True}
    stream = asyncio.create_task(api.complete(body, **bearer(secret)))
    await until(lambda: len(api.engine.requests) == 1)
    revoke_key(state, id)
    assert (await api.complete(body, **bearer(secret))).status_code == 401
    api.engine.gate.set()
    assert streamed_text(events((await stream).text)) == "hello from alpha 0"


NAMES = ["alpha", "beta", "gamma", "mine", "prod"]  # of the catalogue, two of them aliases
MEANT = {"mine": "alpha", "prod": "beta"}
PATTERNS = st.sets(st.sampled_from(["alpha", "al*", "*a", "b*", "gam*a", "beta", "nobody", "mine", "*"]), max_size=3)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(patterns=PATTERNS)
def test_whatever_the_patterns_lists_and_answers_agree(api: Api, patterns: set[str]) -> None:
    """What is listed can be asked and what is not listed cannot, whichever way it is asked for."""
    caller = Caller(tenant="t", adapters=Patterns(sorted(patterns)))
    allowed = {name for name in NAMES if Patterns(sorted(patterns)).fit(MEANT.get(name, name))}

    async def look() -> None:
        async with inside_client(api.app, caller) as client:
            cards = (await client.get("/v1/models")).json()["data"]
            assert {card["id"] for card in cards} - {"test-model"} == allowed
            for name in NAMES:
                wanted = 200 if name in allowed else 404
                asked = {"model": name, "prompt": "x", "max_tokens": 1}
                assert (await client.get(f"/v1/models/{name}")).status_code == wanted
                assert (await client.get(f"/v1/adapters/{name}")).status_code == wanted
                assert (await client.post("/v1/completions", json=asked)).status_code == wanted
                assert (await client.post("/tokenize", json={"model": name, "prompt": "x"})).status_code == wanted

    asyncio.run(look())
