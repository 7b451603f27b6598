"""Spans as a collector gets them, from an app over a fake engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from support.api import Api, serve_app, until
from support.collector import Collected, Collector
from support.fake_engine import FakeEngine

from loraplex_server.engine.interface import (
    AdapterUnusableError,
    DeadlineExceededError,
    EngineDeadError,
    EngineError,
)
from loraplex_server.tracing.interface import Tracing

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1"}


async def one_root(collector: Collector) -> Collected:
    await until(lambda: collector.roots())
    (root,) = collector.roots()
    return root


async def test_a_request_is_a_span_in_its_senders_trace(api: Api, collector: Collector) -> None:
    body = {
        "model": "alpha",
        "temperature": 0.5,
        "top_p": 0.75,
        "top_k": 7,
        "seed": 3,
        "max_tokens": 20,
        "stop": ["zz"],
    }
    response = await api.chat(body, **PARENT, **{"x-request-id": "r1"})
    root = await one_root(collector)
    assert (root.name, root.kind, root.status) == ("chat alpha", "SERVER", "UNSET")
    assert (root.trace_id, root.parent_id, root.trace_state) == (TRACE, SPAN, "vendor=1")
    usage = response.json()["usage"]
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "loraplex",
        "gen_ai.request.model": "alpha",
        "gen_ai.response.model": "alpha",
        "gen_ai.response.id": response.json()["id"],
        "gen_ai.request.max_tokens": 20,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.75,
        "gen_ai.request.top_k": 7,
        "gen_ai.request.seed": 3,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "gen_ai.usage.cache_read.input_tokens": 1,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "server.address": "test",
        "loraplex.request_id": "r1",
        "loraplex.outcome": "stop",
        "loraplex.adapter.names": ["alpha"],
    }
    assert 0 <= root.attributes.pop("gen_ai.response.time_to_first_chunk") < 60
    assert root.attributes == expected
    assert collector.resource["service.name"] == "loraplex"


async def test_its_parts_are_spans_inside_of_it_in_order(api: Api, engine: FakeEngine, collector: Collector) -> None:
    engine.generation, engine.delay = "a" * 64, 0.3  # the parts were that long; they begin no earlier than the request
    await api.chat({"model": "alpha"})
    root = await one_root(collector)
    queue, load, prefill, decode = collector.below(root)
    assert [span.name for span in (queue, load, prefill, decode)] == ["queue", "load_adapter", "prefill", "decode"]
    assert {span.kind for span in (queue, load, prefill, decode)} == {"INTERNAL"}
    assert root.start <= queue.start <= load.start <= load.end <= queue.end == prefill.start
    assert prefill.start < prefill.end == decode.start < decode.end <= root.end
    adapter = {
        "loraplex.adapter.name": "alpha",
        "loraplex.adapter.generation": "a" * 12,
        "loraplex.adapter.origin": "disk",
    }
    assert load.attributes == adapter
    assert prefill.attributes["gen_ai.usage.input_tokens"] == root.attributes["gen_ai.usage.input_tokens"]


async def test_the_base_loads_nothing_and_an_embedding_decodes_nothing(api: Api, collector: Collector) -> None:
    await api.complete({"prompt": "x"})
    root = await one_root(collector)
    assert root.name == "text_completion test-model"
    assert [span.name for span in collector.below(root)] == ["queue", "prefill", "decode"]
    collector.spans.clear()
    await api.post("/v1/embeddings", {"input": "x"})
    root = await one_root(collector)
    assert root.name == "embeddings test-model"
    assert [span.name for span in collector.below(root)] == ["queue", "prefill"]
    assert "gen_ai.request.temperature" not in root.attributes


async def test_each_prompt_has_its_parts(api: Api, collector: Collector) -> None:
    await api.complete({"prompt": ["x", "y"], "n": 2})
    root = await one_root(collector)
    parts = collector.below(root)
    assert sorted((span.name, span.attributes["loraplex.prompt.index"]) for span in parts) == [
        (name, index) for name in ("decode", "prefill", "queue") for index in (0, 1)
    ]
    assert root.attributes["gen_ai.request.choice.count"] == 2
    assert root.attributes["gen_ai.response.finish_reasons"] == ["stop"] * 4


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failure", "error"),
    [(EngineDeadError("gone"), "unavailable"), (EngineError("odd"), "error"), (RuntimeError("bug"), "error")],
)
async def test_errors_of_the_server_set_the_status(
    api: Api, engine: FakeEngine, collector: Collector, failure: Exception, error: str, stream: bool
) -> None:
    engine.failure, engine.fail_after = failure, 1
    await api.complete({"prompt": "x", "stream": stream})
    root = await one_root(collector)
    assert (root.status, root.message, root.attributes["error.type"]) == ("ERROR", error, error)
    assert root.attributes["http.response.status_code"] == (200 if stream else 503 if error == "unavailable" else 500)
    *_, decode = collector.below(root)
    assert (decode.name, decode.status) == ("decode", "ERROR")


@pytest.mark.parametrize(
    ("failure", "part", "status", "error"),
    [
        (AdapterUnusableError("refused"), "load_adapter", "UNSET", None),
        (DeadlineExceededError("late"), "queue", "ERROR", "deadline_exceeded"),
    ],
)
async def test_what_never_began_ends_in_the_part_that_it_waited_in(
    api: Api, engine: FakeEngine, collector: Collector, failure: Exception, part: str, status: str, error: str | None
) -> None:
    engine.failure = failure
    await api.complete({"prompt": "x", "model": "alpha"})
    root = await one_root(collector)
    (span,) = collector.below(root)
    assert (span.name, span.status) == (part, "ERROR")
    assert (root.status, root.attributes.get("error.type")) == (status, error)


async def test_the_clients_own_errors_are_no_errors_of_the_server(api: Api, collector: Collector) -> None:
    await api.chat({"model": "nobody"})
    root = await one_root(collector)
    assert (root.name, root.status) == ("POST /v1/chat/completions", "UNSET")
    assert (root.attributes["http.response.status_code"], root.attributes["loraplex.outcome"]) == (404, "not_found")
    assert "error.type" not in root.attributes


async def test_a_stream_ends_its_span_when_it_ends(api: Api, engine: FakeEngine, collector: Collector) -> None:
    engine.delay = 0.05
    await api.chat({"stream": True})
    root = await one_root(collector)
    *_, decode = collector.below(root)
    assert root.end >= decode.end > decode.start + 50_000_000
    assert root.attributes["gen_ai.request.stream"] is True


async def test_who_hangs_up_ends_the_span_too(api: Api, engine: FakeEngine, collector: Collector) -> None:
    engine.gate, engine.gate_after = asyncio.Event(), 1
    async with serve_app(api) as url, httpx.AsyncClient() as client:
        async with client.stream("POST", f"{url}/v1/completions", json={"prompt": "x", "stream": True}) as response:
            await anext(response.aiter_bytes())
        root = await one_root(collector)
    assert (root.status, root.attributes["error.type"]) == ("ERROR", "cancelled")
    *_, decode = collector.below(root)
    assert (decode.name, decode.status) == ("decode", "ERROR")


async def test_no_text_of_anybody_is_in_a_span(api: Api, collector: Collector) -> None:
    await api.chat({"messages": [{"role": "user", "content": "quick fox"}], "stop": ["my stop"], "user": "ann"})
    await one_root(collector)
    everything = str(collector.spans)
    assert not [text for text in ("quick", "my stop", "hello there", "ann'") if text in everything]


async def test_other_requests_are_called_by_their_route(api: Api, collector: Collector) -> None:
    await api.get("/v1/models/alpha")
    root = await one_root(collector)
    assert root.name == "GET /v1/models/{name:path}"
    assert root.attributes["url.path"] == "/v1/models/alpha"


async def test_probes_and_scrapes_have_no_span(api: Api, collector: Collector) -> None:
    for path in ("/health", "/ready", "/metrics", "/v1/models"):
        await api.get(path)
    root = await one_root(collector)
    assert root.name == "GET /v1/models"


async def test_lines_of_a_request_name_its_span(
    api: Api, engine: FakeEngine, collector: Collector, line_context: list[dict[str, str]]
) -> None:
    engine.failure = RuntimeError("bug")
    await api.chat({}, **PARENT, **{"x-request-id": "r1"})
    root = await one_root(collector)
    assert line_context
    assert all(line == {"request_id": "r1", "trace_id": TRACE, "span_id": root.span_id} for line in line_context), (
        line_context
    )


@pytest.fixture
def line_context() -> Any:
    """What each line of this server's loggers says of the request."""
    from loraplex_server.logs.context import context

    seen: list[dict[str, str]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(dict(context()))

    ours, handler = logging.getLogger("loraplex_server"), Handler()
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    yield seen
    ours.removeHandler(handler)
    ours.setLevel(level)


@pytest.mark.parametrize("sampler", ["always_off", "parentbased_always_on"])
async def test_the_sampler_decides(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, collector: Collector, sampler: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    make_api: Callable[..., Api] = request.getfixturevalue("make_api")
    tracing: Tracing = request.getfixturevalue("tracing")
    api = make_api(tracing=tracing)
    not_sampled = {"traceparent": f"00-{TRACE}-{SPAN}-00"}
    assert (await api.chat({}, **not_sampled)).status_code == 200
    if sampler == "parentbased_always_on":
        await api.chat({})
    tracing.close()
    assert len(collector.roots()) == (sampler == "parentbased_always_on")
    assert all(root.trace_id != TRACE for root in collector.roots())
