"""How long a request may take, and how urgent it is: from its body, its headers, the server's settings, its key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
from support.api import Api, named_events
from support.fake_engine import FakeEngine

from loraplex_server.api.access.caller import Caller, acting_as
from loraplex_server.api.answers.answer import Answer, Prompt
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.engine.interface import DeadlineExceededError
from loraplex_server.engine.messages import Delta, GenerateRequest

MESSAGES = [{"role": "user", "content": "hello"}]
ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": "x"}),
    ("/v1/chat/completions", {"messages": MESSAGES}),
    ("/v1/responses", {"input": "x"}),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 8}),
]


async def asked(api: Api, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> GenerateRequest:
    response = await api.post(path, {"model": "test-model", **body}, headers)
    assert response.status_code == 200, response.text
    return api.engine.requests[-1]


@pytest.mark.parametrize(("path", "body"), ROUTES)
async def test_every_route_takes_them(api: Api, path: str, body: dict[str, Any]) -> None:
    request = await asked(api, path, {**body, "timeout": 40.0, "priority": -3})
    assert request.timeout_s is not None
    assert 20 < request.timeout_s <= 40
    assert request.share.priority == -3


@pytest.mark.parametrize(
    ("body", "headers", "setting", "expected"),
    [
        ({}, {}, None, None),
        ({}, {}, 500.0, 500),
        ({"timeout": 30}, {"x-request-timeout": "70"}, 500.0, 30),
        ({}, {"x-request-timeout": "70"}, 500.0, 70),
        ({}, {"x-request-timeout": "70", "x-loraplex-timeout": "1.5e2"}, None, 150),
        ({"timeout": None}, {"x-loraplex-timeout": "90"}, None, 90),
        ({"timeout": 30}, {"x-loraplex-timeout": "soon"}, None, 30),
    ],
)
async def test_the_nearest_word_on_time_counts(
    make_api: Callable[..., Api],
    body: dict[str, Any],
    headers: dict[str, str],
    setting: float | None,
    expected: float | None,
) -> None:
    request = await asked(make_api(request_timeout=setting), "/v1/completions", {"prompt": "x", **body}, headers)
    if expected is None:
        assert request.timeout_s is None
    else:
        assert request.timeout_s is not None
        assert expected - 20 < request.timeout_s <= expected


@pytest.mark.parametrize("value", ["soon", "", "-1", "0", "nan", "inf", "86401"])
async def test_a_header_that_is_no_time_is_refused_by_its_name(api: Api, value: str) -> None:
    response = await api.post("/v1/completions", {"prompt": "x"}, {"x-request-timeout": value})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "x-request-timeout"
    assert api.engine.requests == []


@pytest.mark.parametrize(
    "fields", [{"timeout": 0}, {"timeout": -1.0}, {"timeout": 1e9}, {"timeout": "5"}, {"priority": 2**31}]
)
async def test_a_field_out_of_range_is_refused_by_its_name(api: Api, fields: dict[str, Any]) -> None:
    response = await api.complete({"prompt": "x", **fields})
    assert response.status_code == 400
    assert response.json()["error"]["param"] in fields


async def test_a_refusal_for_want_of_time_is_not_to_be_sent_again(api: Api) -> None:
    api.engine.failure = DeadlineExceededError("late")
    for path, body in ROUTES:
        response = await api.post(path, {"model": "test-model", **body})
        assert response.status_code == (504 if path == "/v1/messages" else 408)  # each API's own word for it
        assert response.headers["x-should-retry"] == "false"
        assert "retry-after" not in response.headers


@pytest.mark.parametrize(
    ("caller", "asked_for", "priority"),
    [
        (Caller(), None, 0),
        (Caller(), -7, -7),
        (Caller(tenant="acme", priority=2), None, 2),
        (Caller(tenant="acme", priority=2), 5, 5),
        (Caller(tenant="acme", priority=2), -5, 2),
        (Caller(tenant="acme", priority=-2), 0, 0),
    ],
)
def test_a_tenant_is_never_more_urgent_than_its_key_says(caller: Caller, asked_for: int | None, priority: int) -> None:
    assert caller.share_for(asked_for).priority == priority


def test_an_answer_that_its_time_cut_short_says_so_beside_a_reason_that_all_clients_know(
    renderer: Renderer, engine: FakeEngine
) -> None:
    answer = Answer(0, Prompt([1]), CompletionRequest(prompt=["x"], stop_token_ids=[7]), renderer)
    piece = answer.take(
        Delta(request_id="a", index=0, token_ids=[], finish_reason="length", timed_out=True),
    )
    assert (piece.finish_reason, piece.stop_reason) == ("length", "timeout")


async def test_responses_and_messages_have_words_of_their_own_for_time_that_is_over(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    deltas = api.engine._deltas

    def cut(request: GenerateRequest, index: int) -> list[Delta]:
        first = deltas(request, index)[0]
        return [msgspec.structs.replace(first, finish_reason="length", timed_out=True)]

    monkeypatch.setattr(api.engine, "_deltas", cut)
    asked_of = {"/v1/responses": {"input": "x"}, "/v1/messages": {"messages": MESSAGES, "max_tokens": 10_000}}
    response, message = [(await api.post(path, body)).json() for path, body in asked_of.items()]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "timeout"})
    assert (message["stop_reason"], message["stop_sequence"]) == ("pause_turn", None)
    response, message = [named_events((await api.post(p, {**b, "stream": True})).text) for p, b in asked_of.items()]
    assert response[-1][1]["response"]["incomplete_details"] == {"reason": "timeout"}
    assert dict(message)["message_delta"]["delta"]["stop_reason"] == "pause_turn"


async def test_a_tenant_is_told_at_once_what_will_never_fit_in_its_part_of_the_queue(
    make_api: Callable[..., Api],
) -> None:
    api = make_api(max_queued_requests=4)  # beside the engine's 8
    app = acting_as(api.app, Caller(tenant="acme"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        body = {"prompt": "x", "max_tokens": 1}
        assert (await client.post("/v1/completions", json={**body, "n": 10})).status_code == 200
        refusal = await client.post("/v1/completions", json={**body, "n": 11})
    assert refusal.status_code == 400
    assert "lets 2 wait" in refusal.json()["error"]["message"]
    assert (await api.complete({**body, "n": 12})).status_code == 200
