"""Tenants over HTTP: their keys, limits and usage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.api import Api, until
from support.fake_engine import FakeEngine
from support.tenants import bearer, make_key, revoke_key

from loraplex_server.api.access.caller import ANYONE
from loraplex_server.api.process.start_error import StartError
from loraplex_server.engine.interface import EngineDeadError, QueueFullError
from loraplex_server.engine.messages import Share
from loraplex_server.tenants.limiter import Limiter

MakeApi = Callable[..., Api]
Says = Callable[..., FakeEngine]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def api(make_api: MakeApi, state: Path) -> Api:
    return make_api(state_dir=state)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(api: Api) -> Clock:
    """The limiter's."""
    limiter: Limiter = api.services.tenancy.limiter
    limiter.clock = Clock()
    return limiter.clock


async def test_the_first_key_closes_the_door_and_revoking_it_does_not_open_it(api: Api, state: Path) -> None:
    assert (await api.complete({"prompt": "x"})).status_code == 200
    id, secret = make_key(state, "acme")
    assert (await api.complete({"prompt": "x"})).status_code == 401
    assert (await api.complete({"prompt": "x"}, **bearer(secret))).status_code == 200
    revoke_key(state, id)
    refused = await api.complete({"prompt": "x"}, **bearer(secret))
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert (await api.complete({"prompt": "x"})).status_code == 401


async def test_work_that_was_asked_for_before_stops_with_its_key(api: Api, state: Path) -> None:
    id, _ = make_key(state, "acme", adapters=["alpha"])
    callers = api.services.callers
    caller = callers.with_key(id)
    assert caller is not None
    assert (caller.tenant, caller.key_id, caller.may_use("alpha"), caller.may_use("beta")) == ("acme", id, True, False)
    assert callers.with_key("") is ANYONE
    revoke_key(state, id)
    assert callers.with_key(id) is None


async def test_an_engine_hears_whose_share_it_is(api: Api, state: Path) -> None:
    _, secret = make_key(state, "acme", weight=2.5, priority=-3)
    await api.complete({"prompt": "x"}, **bearer(secret))
    assert api.engine.requests[0].share == Share(tenant="acme", weight=2.5, priority=-3)


async def test_a_named_file_of_keys_must_be_there_and_closes_the_door_while_it_is_empty(
    make_api: MakeApi, tmp_path: Path
) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("keys: []")
    assert (await make_api(keys=file).complete({"prompt": "x"})).status_code == 401
    file.write_text("keys: 5")
    with pytest.raises(StartError, match="list under `keys`"):
        make_api(keys=file)


async def test_an_admins_key_administers_and_a_tenants_does_not(make_api: MakeApi, state: Path, places: Path) -> None:
    api = make_api(state_dir=state, allow_adapter_source=[str(places)])
    body = {"name": "new", "source": str(places / "one")}
    _, tenant = make_key(state, "acme")
    assert (await api.ask("POST", "/v1/adapters", body, key=tenant)).json()["error"]["code"] == "admin_disabled"
    _, boss = make_key(state, "ops", admin=True)
    assert (await api.ask("POST", "/v1/adapters", body, key=tenant)).json()["error"]["code"] == "not_admin"
    assert (await api.ask("POST", "/v1/adapters", body, key=boss)).status_code == 201


async def test_each_tenant_finds_only_its_own_prefixes(make_api: MakeApi, state: Path) -> None:
    _, acme = make_key(state, "acme")
    _, again = make_key(state, "acme")
    _, globex = make_key(state, "globex")

    async def salts(**settings: Any) -> list[str]:
        api = make_api(state_dir=state, api_key=["own"], **settings)
        api.engine.requests.clear()
        for key in (acme, again, globex, "own"):
            await api.complete({"prompt": "x"}, **bearer(key))
        for key in ("own", acme):
            await api.complete({"prompt": "x", "cache_salt": "acme\n"}, **bearer(key))
        api.services.tenancy.close()
        api.catalog._registry.close()
        return [request.salt for request in api.engine.requests]

    first, second, third, own, salted, tenants = await salts()
    assert own == ""
    assert first == second
    assert len({first, third, own, salted, tenants}) == 5
    shared = await salts(share_prefixes=True)
    assert shared[:4] == [""] * 4
    assert shared[4] == shared[5] != ""


async def test_a_salt_that_is_no_salt_is_refused(api: Api) -> None:
    for salt in ("x" * 1025, 5, ""):
        response = await api.complete({"prompt": "x", "cache_salt": salt})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "cache_salt")


async def test_so_many_requests_a_minute(api: Api, state: Path, clock: Clock) -> None:
    _, secret = make_key(state, "acme", requests_per_minute=2)
    first = await api.complete({"prompt": "x"}, **bearer(secret))
    assert {name: value for name, value in first.headers.items() if name.startswith("x-ratelimit")} == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "30s",
    }
    assert (await api.complete({"prompt": 5}, **bearer(secret))).status_code == 400
    refused = await api.chat({}, **bearer(secret))
    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "30"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"] == "1m0s"
    assert "2 requests a minute" in error["message"]
    assert (await api.get("/v1/models", **bearer(secret))).status_code == 200
    assert len(api.engine.requests) == 1
    clock.now += 30
    assert (await api.chat({}, **bearer(secret))).status_code == 200


async def test_a_limit_is_exact_however_many_come_at_once(api: Api, state: Path, clock: Clock) -> None:
    _, secret = make_key(state, "acme", requests_per_minute=7)
    answers = await asyncio.gather(*(api.complete({"prompt": "x"}, **bearer(secret)) for _ in range(40)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [429] * 33


async def test_so_many_at_once(api: Api, state: Path) -> None:
    _, secret = make_key(state, "acme", concurrency=2)
    api.engine.gate = asyncio.Event()
    waiting = [asyncio.create_task(api.complete({"prompt": "x"}, **bearer(secret))) for _ in range(2)]
    await until(lambda: len(api.engine.requests) == 2)
    refused = await api.complete({"prompt": "x"}, **bearer(secret))
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    api.engine.gate.set()
    assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200, 200]
    assert (await api.complete({"prompt": "x"}, **bearer(secret))).status_code == 200


async def test_tokens_are_charged_as_they_were_used(api: Api, says: Says, state: Path, clock: Clock) -> None:
    _, secret = make_key(state, "acme", tokens_per_minute=100)
    says("hello")
    body = {"prompt": [5, 6, 7], "max_tokens": 40}

    async def left(body: dict[str, Any]) -> tuple[int, int]:
        response = await api.complete(body, **bearer(secret))
        before = int(response.headers["x-ratelimit-remaining-tokens"])
        after = (await api.post("/tokenize", {"prompt": "x"}, bearer(secret))).headers["x-ratelimit-remaining-tokens"]
        return before, int(after)

    answer = len(api.renderer.tokenizer.encode("hello").ids) + 1
    # The whole answer's tokens are there to be counted before its head is sent; those of a stream are not.
    assert await left({**body, "stream": True}) == (57, 97 - answer)
    assert (await left(body))[1] == 94 - 2 * answer
    api.engine.failure = QueueFullError("full", 1)
    assert (await left(body))[1] == 94 - 2 * answer
    api.engine.failure, api.engine.fail_after = EngineDeadError("dead"), 1
    assert (await left(body))[1] == 90 - 2 * answer  # its prompt and the one token that came


async def test_a_request_that_needs_too_many_tokens_is_told_so(api: Api, state: Path, clock: Clock) -> None:
    _, secret = make_key(state, "acme", tokens_per_minute=60)
    never = await api.complete({"prompt": [5] * 10, "max_tokens": 51}, **bearer(secret))
    assert (never.status_code, never.json()["error"]["code"]) == (400, "tokens_exceed_key_limit")
    assert "retry-after" not in never.headers
    many = await api.complete({"prompt": [5] * 10, "max_tokens": 25, "n": 3}, **bearer(secret))
    assert many.status_code == 400
    assert (await api.complete({"prompt": [5] * 10, "max_tokens": 50}, **bearer(secret))).status_code == 200
    later = await api.complete({"prompt": [5] * 10, "max_tokens": 50}, **bearer(secret))
    assert later.status_code == 429
    assert "60 tokens a minute" in later.json()["error"]["message"]
    clock.now += int(later.headers["retry-after"])
    assert (await api.complete({"prompt": [5] * 10, "max_tokens": 50}, **bearer(secret))).status_code == 200


async def test_chats_that_name_no_limit_do_not_wait_for_each_other(api: Api, state: Path) -> None:
    _, secret = make_key(state, "acme", tokens_per_minute=200)
    api.engine.gate = asyncio.Event()
    chats = [asyncio.create_task(api.chat({}, **bearer(secret))) for _ in range(3)]
    await until(lambda: len(api.engine.requests) == 3)
    api.engine.gate.set()
    assert [answer.status_code for answer in await asyncio.gather(*chats)] == [200] * 3


async def test_the_log_has_the_tenant_and_never_the_key(
    api: Api, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _, secret = make_key(state, "acme", requests_per_minute=1)
    await api.complete({"prompt": "x"}, **bearer(secret))
    await api.complete({"prompt": "x"}, **bearer(secret))
    await api.complete({"prompt": "x"}, **bearer("lp-wrong"))
    lines = [record.fields for record in caplog.records if record.name == "loraplex_server.request"]
    assert [(line.get("tenant"), line["outcome"]) for line in lines] == [
        ("acme", "stop"),
        ("acme", "rate_limited"),
        (None, "unauthorized"),
    ]
    everything = caplog.text + str([record.__dict__ for record in caplog.records])
    assert secret not in everything
    assert "lp-wrong" not in everything


async def test_metrics_count_by_tenant_and_are_for_admins(api: Api, state: Path) -> None:
    api.services.metrics.render = lambda *_: b""  # type: ignore[method-assign]  # at most four times a second
    _, secret = make_key(state, "acme", requests_per_minute=2)
    _, boss = make_key(state, "ops", admin=True)
    for _ in range(3):
        await api.complete({"prompt": [5, 6], "model": "alpha"}, **bearer(secret))
    del api.services.metrics.render
    assert (await api.get("/metrics")).status_code == 401
    assert (await api.get("/metrics", **bearer(secret))).status_code == 403
    text = (await api.get("/metrics", **bearer(boss))).text
    assert 'loraplex_tenant_requests_total{outcome="stop",tenant="acme"} 2.0' in text
    assert 'loraplex_tenant_tokens_total{kind="prompt",tenant="acme"} 4.0' in text
    assert 'loraplex_tenant_tokens_total{kind="cached",tenant="acme"} 2.0' in text
    assert 'loraplex_tenant_rate_limited_total{limit="requests",tenant="acme"} 1.0' in text


async def test_metrics_can_be_open(make_api: MakeApi, state: Path) -> None:
    make_key(state, "acme")
    assert (await make_api(state_dir=state, open_metrics=True).get("/metrics")).status_code == 200


async def test_so_many_tenants_have_series_of_their_own(make_api: MakeApi, state: Path) -> None:
    api = make_api(state_dir=state, metrics_max_tenants=2, open_metrics=True)
    for number in range(4):
        _, secret = make_key(state, f"t{number}")
        await api.complete({"prompt": "x"}, **bearer(secret))
    text = (await api.get("/metrics")).text
    assert 'loraplex_tenant_requests_total{outcome="stop",tenant="other"} 2.0' in text
    assert 'tenant="t2"' not in text
