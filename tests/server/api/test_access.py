"""Keys, ids, the door that closes, and the line that is logged."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from support.api import Api
from support.fake_engine import FakeEngine

from loraplex_server.engine.interface import EngineDeadError, QueueFullError
from loraplex_server.engine.messages import EngineStats

MakeApi = Callable[..., Api]
Says = Callable[..., FakeEngine]

GUARDED = [
    ("POST", "/v1/completions"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/alpha"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("GET", "/v1/nowhere"),
]
OPEN = ["/health", "/ping", "/ready", "/version", "/metrics", "/openapi.json"]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong", "Basic one", "one", "Bearer one two"])
@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_a_key_nothing_is_done(
    make_api: MakeApi, method: str, path: str, authorization: str | None
) -> None:
    api = make_api(api_key=["one", "two"])
    headers = {} if authorization is None else {"authorization": authorization}
    async with api.client() as client:
        response = await client.request(method, path, json={"prompt": "x"}, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert api.engine.requests == []


@pytest.mark.parametrize("key", ["one", "two", "schlüssel"])
async def test_any_of_the_keys_opens(make_api: MakeApi, key: str) -> None:
    api = make_api(api_key=["one", "two", "schlüssel"])
    async with api.client() as client:
        headers = [(b"authorization", b"bearer " + key.encode("latin-1"))]
        response = await client.post("/v1/completions", json={"prompt": "x"}, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("path", OPEN)
async def test_probes_and_scrapers_need_no_key(make_api: MakeApi, path: str) -> None:
    assert (await make_api(api_key=["one"]).get(path)).status_code == 200


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2:3/4=@", True), ("x" * 128, True), ("x" * 129, False)])
async def test_a_plain_request_id_is_kept(api: Api, given: str, kept: bool) -> None:
    response = await api.get("/version", **{"x-request-id": given})
    assert (response.headers["x-request-id"] == given) == kept
    assert int(response.headers["openai-processing-ms"]) >= 0


@pytest.mark.parametrize("given", ["", "a b", "a\tb", 'a"b', "é", "<script>"])
async def test_any_other_request_id_is_replaced(api: Api, given: str) -> None:
    async with api.client() as client:
        response = await client.get("/version", headers=[(b"x-request-id", given.encode("latin-1"))])
    assert response.headers["x-request-id"] != given
    assert len(response.headers["x-request-id"]) == 32


async def test_a_draining_server_takes_no_new_requests(api: Api) -> None:
    assert (await api.get("/ready")).status_code == 200
    api.services.drain.begin()
    response = await api.complete({"prompt": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "draining")
    assert response.headers["connection"] == "close"
    assert int(response.headers["retry-after"]) >= 1
    assert (await api.get("/ready")).status_code == 503
    assert (await api.get("/health")).status_code == 200
    assert api.engine.requests == []


@pytest.mark.parametrize("asked", ["TEXT", "text", "JSON", "json"])
async def test_the_load_is_told_where_a_balancer_asks_for_it(api: Api, says: Says, asked: str) -> None:
    says("hello")
    api.engine.stats = EngineStats(running=3, waiting=2, kv_used_blocks=16, kv_total_blocks=64)
    for body in ({"prompt": "x"}, {"prompt": "x", "stream": True}):
        response = await api.post("/v1/completions", body, headers={"endpoint-load-metrics-format": asked})
        kind, _, report = response.headers["endpoint-load-metrics"].partition(" ")
        assert kind == asked.upper()
        if kind == "JSON":
            named = json.loads(report)["named_metrics"]
        else:
            named = {
                name.removeprefix("named_metrics."): float(v) for name, v in (x.split("=") for x in report.split(", "))
            }
        assert named == {"kv_cache_usage_perc": 0.25, "num_requests_running": 3, "num_requests_waiting": 2}


async def test_the_load_is_told_to_nobody_else(make_api: Callable[..., Api], says: Says) -> None:
    says("hello")
    api = make_api(api_key=["secret"])
    asked = {"endpoint-load-metrics-format": "TEXT"}
    key = {"authorization": "Bearer secret"}
    assert "endpoint-load-metrics" not in (await api.post("/v1/completions", {"prompt": "x"}, headers=asked)).headers
    for wrong in ({}, {"endpoint-load-metrics-format": "protobuf"}):
        response = await api.post("/v1/completions", {"prompt": "x"}, headers=key | wrong)
        assert response.status_code == 200
        assert "endpoint-load-metrics" not in response.headers
    assert "endpoint-load-metrics" in (await api.post("/v1/completions", {"prompt": "x"}, headers=key | asked)).headers


async def test_what_a_router_says_is_logged(api: Api, says: Says, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    says("hello")
    for prefix in ("x-llm-d", "x-gateway"):
        headers = {
            "x-request-id": "abc",
            f"{prefix}-inference-objective": "adapter-a",
            f"{prefix}-inference-fairness-id": "acme",
            f"{prefix}-model-name-rewrite": "support-v2",
            "x-session-id": "not plain\t",
        }
        await api.post("/v1/completions", {"prompt": "x"}, headers=headers)
        line = lines(caplog)[-1]
        assert line["request_id"] == "abc"
        assert (line["objective"], line["fairness_id"], line["rewritten_to"]) == ("adapter-a", "acme", "support-v2")
        assert "session" not in line


async def test_health_follows_the_engine(api: Api) -> None:
    assert [(await api.get(path)).status_code for path in ("/health", "/ping", "/ready")] == [200, 200, 200]
    api.engine.healthy = False
    assert [(await api.get(path)).status_code for path in ("/health", "/ping", "/ready")] == [503, 503, 503]
    assert (await api.get("/version")).json()["version"].count(".") == 2


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.fields for record in caplog.records if record.name == "loraplex_server.request"]


async def test_one_line_is_logged_for_each_request(api: Api, says: Says, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    says("hello")
    api.engine.generation = "abc123"
    secret = {"model": "alpha", "messages": [{"role": "user", "content": "my secret"}]}
    response = await api.chat({**secret, "stream": True}, **{"x-request-id": "r1"})
    (line,) = lines(caplog)
    output = len(api.renderer.tokenizer.encode("hello").ids) + 1
    assert line.pop("total_s") >= line.pop("ttft_s") >= 0
    assert line.pop("decode_s") >= 0
    assert line == {
        "request_id": "r1",
        "method": "POST",
        "endpoint": "/v1/chat/completions",
        "status": 200,
        "outcome": "stop",
        "model": "alpha",
        "adapter": "alpha",
        "generation": "abc123",
        "stream": True,
        "prompt_tokens": len(api.engine.requests[0].prompt_token_ids),
        "cached_tokens": 1,
        "output_tokens": output,
        "queue_s": 0.5,
        "load_s": 0.125,
        "prefill_s": 0.25,
    }
    assert response.status_code == 200
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("failure", "status", "outcome"),
    [
        (QueueFullError("full", 1), 429, "queue_full"),
        (EngineDeadError("dead"), 503, "unavailable"),
        (RuntimeError("odd"), 500, "error"),
    ],
)
async def test_the_line_says_how_a_request_failed(
    api: Api, caplog: pytest.LogCaptureFixture, failure: Exception, status: int, outcome: str
) -> None:
    caplog.set_level(logging.INFO)
    api.engine.failure = failure
    await api.complete({"prompt": "x"})
    (line,) = lines(caplog)
    assert (line["status"], line["outcome"]) == (status, outcome)


async def test_refusals_are_logged_and_probes_are_not(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await api.complete({"prompt": "x", "model": "nobody"})
    await api.complete({"prompt": 5})
    for path in OPEN:
        await api.get(path)
    assert [(line["status"], line["outcome"]) for line in lines(caplog)] == [(404, "not_found"), (400, "invalid")]


async def test_the_request_log_can_be_off(make_api: MakeApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await make_api(request_log=False).complete({"prompt": "x"})
    assert lines(caplog) == []


async def test_the_schema_of_the_api_describes_every_body(api: Api) -> None:
    document = (await api.get("/openapi.json")).json()
    text = str(document)
    for path in ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"):
        assert "requestBody" in document["paths"][path]["post"]
    schemas = document["components"]["schemas"]
    for reference in {part.split("'")[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in schemas
    assert "temperature" in schemas["ChatRequest"]["properties"]
