"""/v1/responses: bodies, events, conversations that go on, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from openai.types.responses import Response as OpenAIResponse
from support.api import Api, named_events
from support.fake_engine import FakeEngine

from loraplex_server.api.access.caller import Caller, acting_as
from loraplex_server.api.forms import response_form
from loraplex_server.engine.interface import EngineError

Says = Callable[..., FakeEngine]
MakeApi = Callable[..., Api]


async def respond(api: Api, **body: Any) -> httpx.Response:
    return await api.post("/v1/responses", {"model": "test-model", "input": "hello", **body})


def prompt_of(api: Api, number: int = -1) -> str:
    return api.renderer.decode(api.engine.requests[number].prompt_token_ids, skip_special_tokens=False)


async def test_a_response_has_openai_shape(api: Api, says: Says) -> None:
    says("hello there")
    body = (await respond(api, metadata={"a": "b"}, user="u", temperature=0.5)).json()
    parsed = OpenAIResponse.model_validate(body)
    assert parsed.output_text == "hello there"
    assert set(body) >= {name for name, field in OpenAIResponse.model_fields.items() if field.is_required()}
    assert (body["status"], body["object"], body["model"]) == ("completed", "response", "test-model")
    assert (body["metadata"], body["user"], body["temperature"], body["error"]) == ({"a": "b"}, "u", 0.5, None)
    (item,) = body["output"]
    assert item["content"] == [{"type": "output_text", "text": "hello there", "annotations": [], "logprobs": []}]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    usage = body["usage"]
    assert usage["input_tokens_details"] == {"cached_tokens": 1, "cache_write_tokens": 0}
    assert usage["output_tokens"] == len(api.renderer.tokenizer.encode("hello there").ids) + 1
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


async def test_an_answer_at_its_limit_is_incomplete(api: Api, says: Says) -> None:
    says("hello there and more of it")
    body = (await respond(api, max_output_tokens=3)).json()
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["output"][0]["status"] == "incomplete"
    assert body["completed_at"] is None
    assert api.engine.requests[-1].sampling.max_tokens == 3
    kind, last = named_events((await respond(api, max_output_tokens=3, stream=True)).text)[-1]
    assert kind == "response.incomplete"
    assert last["response"]["output"][0]["status"] == "incomplete"


async def test_a_stream_tells_the_life_of_a_response(api: Api, says: Says) -> None:
    says("hello there").per_delta = 100
    response = await respond(api, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = named_events(response.text)
    assert [kind for kind, _ in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [body["sequence_number"] for _, body in events] == list(range(9))
    by_kind = dict(events)
    created, added = by_kind["response.created"]["response"], by_kind["response.output_item.added"]["item"]
    assert (created["status"], created["output"], created["usage"]) == ("in_progress", [], None)
    assert (added["status"], added["content"]) == ("in_progress", [])
    item = by_kind["response.completed"]["response"]["output"][0]
    assert by_kind["response.output_item.done"]["item"] == item
    assert by_kind["response.content_part.done"]["part"] == item["content"][0]
    assert by_kind["response.output_text.delta"]["item_id"] == added["id"] == item["id"]


@pytest.mark.parametrize("text", ["hello 日本語 😀 there", "", "\n\n", "stop here and there"])
@pytest.mark.parametrize("extra", [{}, {"top_logprobs": 2}, {"stop": "and"}, {"max_output_tokens": 2}])
@pytest.mark.parametrize("per_delta", [1, 3, 100])
async def test_a_stream_adds_up_to_the_whole(
    api: Api, says: Says, text: str, extra: dict[str, Any], per_delta: int
) -> None:
    says(text).per_delta = per_delta
    whole = (await respond(api, **extra)).json()
    events = named_events((await respond(api, **extra, stream=True)).text)
    deltas = [body for kind, body in events if kind == "response.output_text.delta"]
    (content,) = whole["output"][0]["content"]
    assert "".join(body["delta"] for body in deltas) == content["text"]
    assert [entry for body in deltas for entry in body["logprobs"]] == content["logprobs"]
    assert bool(content["logprobs"]) == ("top_logprobs" in extra)
    last = events[-1][1]["response"]
    for body in (last, whole):
        ids = body.pop("id"), body["output"][0].pop("id")
        assert ids[1].startswith("msg_" + ids[0].removeprefix("resp_"))
        assert body.pop("created_at") > 1_700_000_000
        body.pop("completed_at")
    assert last == whole


async def test_items_go_through_the_template(api: Api, says: Says) -> None:
    says("x")
    items = [
        {"role": "developer", "content": "be"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "zzz"},
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "phase": None,
         "content": [{"type": "output_text", "text": "b", "annotations": [], "logprobs": None}]},
        {"role": "user", "content": "c"},
    ]  # fmt: skip
    assert (await respond(api, input=items)).status_code == 200
    assert prompt_of(api) == "<|system|>be<|end|><|user|>a<|end|><|assistant|>b<|end|><|user|>c<|end|><|assistant|>"
    await respond(api, instructions="first")
    assert prompt_of(api) == "<|system|>first<|end|><|user|>hello<|end|><|assistant|>"


async def test_a_response_goes_on_from_another(api: Api, says: Says) -> None:
    says("one")
    first = (await respond(api, instructions="be")).json()
    second = (await respond(api, input="more", previous_response_id=first["id"], stream=True)).text
    says("three")
    last = named_events(second)[-1][1]["response"]
    assert last["previous_response_id"] == first["id"]
    assert prompt_of(api) == "<|user|>hello<|end|><|assistant|>one<|end|><|user|>more<|end|><|assistant|>"
    await api.ask("DELETE", f"/v1/responses/{first['id']}")
    await respond(api, input="yes", previous_response_id=last["id"])
    assert prompt_of(api).endswith("<|user|>more<|end|><|assistant|>one<|end|><|user|>yes<|end|><|assistant|>")
    assert prompt_of(api).startswith("<|user|>hello<|end|>")


async def test_stored_responses_can_be_had_and_deleted(api: Api, says: Says) -> None:
    says("one")
    body = (await respond(api)).json()
    path = f"/v1/responses/{body['id']}"
    assert (await api.get(path)).json() == body
    assert (await api.get(path + "?stream=true")).status_code == 400
    assert (await api.ask("DELETE", path)).json() == {"id": body["id"], "object": "response", "deleted": True}
    for response in (await api.get(path), await api.ask("DELETE", path)):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "response_not_found")


@pytest.mark.parametrize(("size", "store"), [("64MiB", False), (0, True), (0, None)])
async def test_what_is_not_stored_cannot_be_gone_on_from(
    make_api: MakeApi, says: Says, size: int | str, store: bool | None
) -> None:
    says("one")
    api = make_api(response_store_size=size)
    body = (await respond(api, store=store)).json()
    assert body["store"] is False
    response = await respond(api, previous_response_id=body["id"])
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "previous_response_not_found")
    assert error["param"] == "previous_response_id"
    assert len(api.services.responses) == 0


async def test_an_error_before_the_first_token_has_its_status(api: Api) -> None:
    api.engine.failure = EngineError("broken")
    for stream in (False, True):
        response = await respond(api, stream=stream)
        assert (response.status_code, response.json()["error"]["code"]) == (500, "engine_error")


async def test_an_error_in_a_stream_is_its_last_event(api: Api, says: Says) -> None:
    says("hello there").failure = EngineError("broken")
    api.engine.fail_after = 2
    events = named_events((await respond(api, stream=True)).text)
    kind, body = events[-1]
    assert (kind, body["response"]["status"]) == ("response.failed", "failed")
    assert body["response"]["error"] == {"code": "server_error", "message": "broken"}
    assert [kind for kind, _ in events].count("response.failed") == 1
    assert len(api.services.responses) == 0


@pytest.mark.parametrize(
    ("field", "value", "says_it"),
    [
        ("background", True, "background"),
        ("truncation", "auto", "truncation"),
        ("conversation", "conv_1", "conversation"),
        ("prompt", {"id": "p"}, "prompt"),
        ("reasoning", {"effort": "high"}, "reasoning.effort"),
        ("service_tier", "flex", "service_tier"),
        ("tools", [{"type": "web_search"}], "'web_search' are not served"),
        ("tool_choice", {"type": "hosted", "name": "x"}, "'hosted' is not served"),
        ("tool_choice", "required", "there are no 'tools'"),
        ("tool_choice", {"type": "function", "name": "x"}, "there are no 'tools'"),
        ("tool_choice", "sometimes", "must be none, auto, required"),
        ("input", [], "input"),
        ("input", 5, "input"),
        ("input", [{"type": "item_reference", "id": "x"}], "'item_reference' are not served"),
        ("input", [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}], "input_text"),
        ("input", ["x"], "must be an object"),
        ("text", {"format": {"type": "grammar"}}, "text.format.type"),
        ("text", {"format": {"type": "json_schema", "name": "x"}}, "'text.format': json_schema needs a 'name'"),
        ("text", {"format": {"type": "text", "schema": {}}}, "go with the type 'json_schema'"),
        ("text", {"verbosity": "low"}, "text.verbosity"),
        ("n", 2, "Unknown field 'n'"),
        ("max_tokens", 5, "did you mean"),
        ("include", ["everything"], "include"),
        ("metadata", {"a": 1}, "metadata"),
        ("max_output_tokens", 10**6, "context holds"),
    ],
)
async def test_what_is_not_served_is_refused_by_name(api: Api, field: str, value: Any, says_it: str) -> None:
    response = await respond(api, **{field: value})
    assert response.status_code == 400, response.text
    assert says_it in response.json()["error"]["message"]
    assert api.engine.requests == []


async def test_what_changes_nothing_is_accepted(api: Api) -> None:
    harmless = {
        "background": False,
        "reasoning": {"effort": None, "summary": None},
        "include": ["reasoning.encrypted_content"],
        "service_tier": "auto",
        "truncation": "disabled",
        "text": {"format": {"type": "text"}},
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "stream_options": {"include_obfuscation": False},
        "prompt_cache_key": "x",
        "max_tool_calls": 3,
        "conversation": None,
    }
    assert (await respond(api, **harmless)).status_code == 200


async def test_adapters_and_sampling_are_those_of_chats(api: Api) -> None:
    body = (await respond(api, model="alpha", top_k=5, seed=3, logit_bias={"7": 1.5}, top_p=0.5)).json()
    assert (body["model"], body["top_p"]) == ("alpha", 0.5)
    request = api.engine.requests[-1]
    assert [use.source.name for use in request.adapters] == ["alpha"]
    assert (request.sampling.top_k, request.sampling.seed, request.sampling.logit_bias) == (5, 3, {7: 1.5})
    weighted = [{"name": "alpha", "weight": 0.5}, {"name": "beta"}]
    await respond(api, adapters=weighted)
    assert [(use.source.name, use.weight) for use in api.engine.requests[-1].adapters] == [("alpha", 0.5), ("beta", 1)]
    response = await respond(api, model="nobody")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


async def test_input_tokens_are_counted(api: Api) -> None:
    counted = await api.post("/v1/responses/input_tokens", {"input": "hello", "instructions": "be"})
    answered = (await respond(api, instructions="be")).json()
    assert counted.json() == {"object": "response.input_tokens", "input_tokens": answered["usage"]["input_tokens"]}


async def test_another_tenants_response_is_none(api: Api, says: Says) -> None:
    says("one")

    async def ask(tenant: str, method: str, path: str, body: Any = None) -> httpx.Response:
        transport = httpx.ASGITransport(acting_as(api.app, Caller(tenant=tenant)))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, json=body)

    id = (await ask("one", "POST", "/v1/responses", {"input": "secret"})).json()["id"]
    for method in ("GET", "DELETE"):
        assert (await ask("two", method, f"/v1/responses/{id}")).status_code == 404
    response = await ask("two", "POST", "/v1/responses", {"input": "what was it?", "previous_response_id": id})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "previous_response_not_found")
    assert (await ask("one", "GET", f"/v1/responses/{id}")).status_code == 200


async def test_many_log_probabilities_are_written_beside_the_event_loop(
    api: Api, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    says("hello there and there").per_delta = 3
    small = (await respond(api, top_logprobs=2)).json()["output"][0]["content"]
    monkeypatch.setattr(response_form, "INLINE_LOGPROBS", 9)
    moved: list[str] = []
    to_thread = asyncio.to_thread

    async def noted(work: Callable[..., Any], *arguments: Any) -> Any:
        moved.append(getattr(work, "__name__", ""))
        return await to_thread(work, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", noted)
    whole = (await respond(api, top_logprobs=2)).json()
    assert moved == ["response"]
    events = named_events((await respond(api, top_logprobs=2, stream=True)).text)
    assert moved[1:] == ["events", "<lambda>"]  # the last batch, which closes the text, and the end
    assert events[-1][1]["response"]["output"][0]["content"] == whole["output"][0]["content"] == small
    assert len(api.services.responses) == 3
