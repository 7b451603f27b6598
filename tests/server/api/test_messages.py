"""/v1/messages: bodies, events, envelopes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from support.api import Api, named_events
from support.fake_engine import FakeEngine

from loraplex_server.engine.interface import EngineDeadError, EngineError, QueueFullError

Says = Callable[..., FakeEngine]
MakeApi = Callable[..., Api]


async def send(api: Api, **body: Any) -> httpx.Response:
    messages = [{"role": "user", "content": "hello"}]
    return await api.post("/v1/messages", {"model": "test-model", "max_tokens": 50, "messages": messages, **body})


def prompt_of(api: Api) -> str:
    return api.renderer.decode(api.engine.requests[-1].prompt_token_ids, skip_special_tokens=False)


async def test_a_message_has_anthropics_shape(api: Api, says: Says) -> None:
    says("hello there")
    body = (await send(api)).json()
    assert body.pop("id").startswith("msg_")
    prompt = len(api.engine.requests[-1].prompt_token_ids)
    assert body == {
        "type": "message",
        "role": "assistant",
        "model": "test-model",
        "content": [{"type": "text", "text": "hello there"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": prompt - 1,  # the engine found one in its cache
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 1,
            "output_tokens": len(api.renderer.tokenizer.encode("hello there").ids) + 1,
        },
    }


async def test_a_stream_has_anthropics_events(api: Api, says: Says) -> None:
    says("hello there").per_delta = 100
    events = named_events((await send(api, stream=True)).text)
    assert [kind for kind, _ in events] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start = events[0][1]["message"]
    assert (start["content"], start["stop_reason"], start["role"]) == ([], None, "assistant")
    assert events[2][1] == {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    assert events[3][1]["delta"] == {"type": "text_delta", "text": "hello there"}
    whole = (await send(api)).json()
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[5][1] == {"type": "message_delta", "delta": end, "usage": whole["usage"]}


@pytest.mark.parametrize("text", ["hello 日本語 😀 there", "", "\n\n", "stop here and there"])
@pytest.mark.parametrize("extra", [{}, {"stop_sequences": ["and", "日"]}, {"max_tokens": 2}])
@pytest.mark.parametrize("per_delta", [1, 3, 100])
async def test_a_stream_adds_up_to_the_whole(
    api: Api, says: Says, text: str, extra: dict[str, Any], per_delta: int
) -> None:
    says(text).per_delta = per_delta
    whole = (await send(api, **extra)).json()
    events = named_events((await send(api, **extra, stream=True)).text)
    deltas = "".join(body["delta"]["text"] for kind, body in events if kind == "content_block_delta")
    assert deltas == "".join(block["text"] for block in whole["content"])
    assert all(block["text"] for block in whole["content"])
    end = next(body for kind, body in events if kind == "message_delta")
    assert end["delta"] == {key: whole[key] for key in ("stop_reason", "stop_sequence")}
    assert end["usage"] == whole["usage"]


async def test_the_reason_of_the_end(api: Api, says: Says) -> None:
    says("hello there and more")
    assert (await send(api, max_tokens=2)).json()["stop_reason"] == "max_tokens"
    body = (await send(api, stop_sequences=["and", "never"])).json()
    assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", "and")
    assert body["content"] == [{"type": "text", "text": "hello there "}]
    says("hello " * 300, end=False)
    body = (await send(api, max_tokens=10**6)).json()
    assert body["stop_reason"] == "model_context_window_exceeded"
    assert body["usage"]["output_tokens"] == 256 - len(api.engine.requests[-1].prompt_token_ids)


@pytest.mark.parametrize(
    ("fields", "rendered"),
    [
        ({"system": "be"}, "<|system|>be<|end|><|user|>hello<|end|><|assistant|>"),
        (
            {"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                        {"type": "text", "text": "b"}]},
            "<|system|>a\nb<|end|><|user|>hello<|end|><|assistant|>",
        ),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
            "<|user|>a\nb<|end|><|assistant|>",
        ),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "so it"}]},
            "<|user|>a<|end|><|assistant|>so it",
        ),
        (
            {"messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "x"},
                                                  {"type": "text", "text": "b", "citations": None}]},
                {"role": "user", "content": [{"type": "text", "text": "c"}]},
            ]},
            "<|user|>a<|end|><|assistant|>b<|end|><|user|>c<|end|><|assistant|>",
        ),
    ],
)  # fmt: skip
async def test_turns_go_through_the_template(api: Api, fields: dict[str, Any], rendered: str) -> None:
    assert (await send(api, **fields)).status_code == 200
    assert prompt_of(api) == rendered


async def test_tokens_are_counted(api: Api) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "system": "be"}
    counted = (await api.post("/v1/messages/count_tokens", body)).json()
    assert counted == {"input_tokens": len(api.renderer.tokenizer.encode("<|system|>be<|end|>").ids) + 4}
    usage = (await send(api, system="be")).json()["usage"]
    assert counted["input_tokens"] == usage["input_tokens"] + usage["cache_read_input_tokens"]


@pytest.mark.parametrize(
    ("field", "value", "says_it"),
    [
        ("max_tokens", None, "'max_tokens': Field required"),
        ("max_tokens", 0, "max_tokens"),
        ("messages", [], "messages"),
        ("messages", [{"role": "tool", "content": "x"}], "messages.0.role"),
        ("messages", [{"role": "user", "content": [{"type": "image", "source": {}}]}], "'image' are not served"),
        ("messages", [{"role": "user", "content": ["x"]}], "must be an object"),
        ("thinking", {"type": "enabled", "budget_tokens": 1024}, "thinking.type"),
        ("tools", [{"type": "web_search_20250305", "name": "w"}], "'web_search_20250305' are not served"),
        ("tool_choice", {"type": "any"}, "there are no 'tools'"),
        ("tool_choice", {"type": "tool", "name": "x"}, "none of the 'tools'"),
        ("output_config", {"effort": "low"}, "output_config.effort"),
        ("container", "x", "container"),
        ("service_tier", "priority", "service_tier"),
        ("stop", ["x"], "stop_sequences"),
        ("min_tokens", 51, "max_tokens"),
        ("max_completion_tokens", 5, "max_completion_tokens"),
        ("unheard_of", 5, "unheard_of"),
    ],
)
async def test_what_is_not_served_is_refused_by_name(api: Api, field: str, value: Any, says_it: str) -> None:
    response = await send(api, **{field: value})
    body = response.json()
    assert (response.status_code, body["type"], body["error"]["type"]) == (400, "error", "invalid_request_error")
    assert says_it in body["error"]["message"]
    assert api.engine.requests == []


async def test_what_changes_nothing_is_accepted(api: Api) -> None:
    harmless = {
        "thinking": {"type": "disabled"},
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "metadata": {"user_id": "u"},
        "service_tier": "auto",
        "tools": [],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "output_config": {"effort": "high"},
        "top_k": 5,
    }
    assert (await send(api, **harmless)).status_code == 200
    assert api.engine.requests[-1].sampling.top_k == 5


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (EngineError("broken"), 500, "api_error"),
        (EngineDeadError("gone"), 529, "overloaded_error"),
        (QueueFullError("full", retry_after=3), 429, "rate_limit_error"),
    ],
)
async def test_errors_have_anthropics_envelope(api: Api, failure: EngineError, status: int, kind: str) -> None:
    api.engine.failure = failure
    for stream in (False, True):
        response = await send(api, stream=stream)
        body = response.json()
        assert (response.status_code, body["type"], body["error"]["type"]) == (status, "error", kind)
        assert response.headers["request-id"] == response.headers["x-request-id"]
    assert ("retry-after" in response.headers) == (status != 500)


@pytest.mark.parametrize(
    ("path", "method", "content", "status", "kind"),
    [
        ("/v1/messages", "POST", b"{", 400, "invalid_request_error"),
        ("/v1/messages", "GET", b"", 405, "invalid_request_error"),
        ("/v1/messages/nowhere", "POST", b"{}", 404, "not_found_error"),
        ("/v1/messages", "POST", b"[" + b" " * 2000 + b"]", 413, "request_too_large"),
        (
            "/v1/messages",
            "POST",
            b'{"model": "nobody", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}',
            404,
            "not_found_error",
        ),
    ],
)  # fmt: skip
async def test_errors_of_all_kinds_have_anthropics_words(
    make_api: MakeApi, path: str, method: str, content: bytes, status: int, kind: str
) -> None:
    async with make_api(max_body_size="1KiB").client() as client:
        headers = {"content-type": "application/json"}
        response = await client.request(method, path, content=content, headers=headers)
    body = response.json()
    assert (response.status_code, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert set(body) == {"type", "error"}


async def test_an_error_in_a_stream_is_its_last_event(api: Api, says: Says) -> None:
    says("hello there").failure = EngineError("broken")
    api.engine.fail_after = 2
    events = named_events((await send(api, stream=True)).text)
    assert events[-1] == ("error", {"type": "error", "error": {"type": "api_error", "message": "broken"}})
    assert [kind for kind, _ in events].count("error") == 1
    assert "message_stop" not in dict(events)


@pytest.mark.parametrize("header", [{"x-api-key": "one"}, {"authorization": "Bearer one"}])
async def test_either_header_holds_the_key(make_api: MakeApi, header: dict[str, str]) -> None:
    api = make_api(api_key=["one"])
    body = {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    assert (await api.post("/v1/messages", body, header)).status_code == 200
    for wrong in ({}, {"x-api-key": "two"}):
        response = await api.post("/v1/messages", body, wrong)
        assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication_error")


async def test_an_adapter_is_a_model(api: Api) -> None:
    body = (await send(api, model="alpha")).json()
    assert body["model"] == "alpha"
    assert body["content"] == [{"type": "text", "text": "hello from alpha 0"}]
