"""What a replica tells Ray of adapters, and what it refuses to do alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.api import Api

from loraplex_server.ray.capacity import adapters_that_fit
from loraplex_server.ray.question import Question
from loraplex_server.ray.refusals import CODE
from loraplex_server.ray.replica import Replica
from loraplex_server.ray.served import Served


def question(adapter: str, **headers: str) -> Question:
    named = tuple((name.encode(), value.encode()) for name, value in headers.items())
    return Question("POST", "/v1/completions", b"", named, b"{}", adapter=adapter)


def test_only_adapters_that_there_are_are_told_of(make_api: Callable[..., Api]) -> None:
    api = make_api()
    served = Served(api.app, api.services, 1)
    assert [served.may_have(question(name)) for name in ("alpha", "gamma", "../alpha", "")] == [
        True,
        False,
        False,
        False,
    ]


def test_nobody_moves_an_adapter_that_is_not_theirs(make_api: Callable[..., Api]) -> None:
    api = make_api(api_key=["secret"])
    served = Served(api.app, api.services, 1)
    assert not served.may_have(question("alpha"))
    assert served.may_have(question("alpha", authorization="Bearer secret"))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/adapters"),
        ("PATCH", "/v1/adapters/alpha"),
        ("DELETE", "/v1/adapters/org/alpha"),
        ("POST", "/v1/unload_lora_adapter"),
        ("GET", "/v1/files/file-1/content"),
        ("POST", "/v1/batches/batch_1/cancel"),
        ("GET", "/v1/usage"),
        ("GET", "/lora-adapters"),
    ],
)
async def test_refusals_are_behind_the_door(make_api: Callable[..., Api], method: str, path: str) -> None:
    api = make_api(api_key=["secret"])
    assert (await api.ask(method, path, {}, key=None)).status_code == 401
    answer = await api.ask(method, path, {}, key="secret")
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, CODE)


async def test_what_is_read_stays(make_api: Callable[..., Api]) -> None:
    api = make_api()
    assert (await api.get("/v1/adapters")).status_code == 200
    assert (await api.get("/v1/adapters/alpha")).json()["name"] == "alpha"


async def test_a_server_that_keeps_no_responses_says_so(make_api: Callable[..., Api]) -> None:
    api = make_api(response_store_size=0)
    body = {"model": "alpha", "input": "x", "previous_response_id": "resp_1"}
    error = (await api.post("/v1/responses", body)).json()["error"]
    assert error["code"] == "previous_response_not_found"
    assert error["message"] == "Previous response with id 'resp_1' not found: this server keeps none"


def test_as_many_adapters_as_fit(make_api: Callable[..., Api], tmp_path: Path) -> None:
    catalog = make_api().catalog
    for name, size in (("alpha", 98), ("beta", 98)):
        (tmp_path / "adapters" / name / "adapter_model.safetensors").write_bytes(b"x" * size)
    assert adapters_that_fit(catalog, 1000) == 10  # of 100 bytes each, with their configs
    assert adapters_that_fit(catalog, 10) == 1


async def test_a_replica_whose_engine_is_down_is_not_well(make_api: Callable[..., Api]) -> None:
    api = make_api()
    replica = SimpleNamespace(_served=Served(api.app, api.services, 1))  # none that Python would let go of by itself
    await Replica.check_health(replica)
    api.engine.healthy = False
    with pytest.raises(RuntimeError, match="not running"):
        await Replica.check_health(replica)
