"""Tools in /v1/responses and /v1/messages: the same calls as in chats, as items and as blocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import Response as OpenAIResponse
from support.api import Api, named_events
from support.tool_models import build_tool_api, calls_for, say

MODELS = ["hermes", "llama3", "mistral"]
CALLS = [("weather", '{"city": "Köln 😀"}'), ("time", "{}")]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
RESPONSE_TOOLS = [{"type": "function", "name": name, "parameters": SCHEMA} for name, _ in CALLS]
MESSAGE_TOOLS = [{"name": name, "input_schema": SCHEMA} for name, _ in CALLS]
PER_DELTA = pytest.mark.parametrize("per_delta", [1, 3, 100])


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def api(model: str, adapters: Path) -> Api:
    return build_tool_api(model, adapters)


def prompt_of(api: Api) -> str:
    return api.renderer.decode(api.engine.requests[-1].prompt_token_ids, skip_special_tokens=False)


async def respond(api: Api, **body: Any) -> Any:
    return await api.post("/v1/responses", {"input": "hello", "tools": RESPONSE_TOOLS, **body})


async def send(api: Api, **body: Any) -> Any:
    asked = {"max_tokens": 500, "messages": [{"role": "user", "content": "hello"}], "tools": MESSAGE_TOOLS}
    return await api.post("/v1/messages", {**asked, **body})


def unnamed(items: list[Any]) -> list[Any]:
    """Without the ids, which differ from answer to answer."""
    return [{key: value for key, value in item.items() if key not in ("id", "call_id")} for item in items]


@PER_DELTA
async def test_calls_are_items_of_a_response(api: Api, model: str, per_delta: int) -> None:
    say(api, calls_for(model, *CALLS), per_delta=per_delta)
    whole = (await respond(api)).json()
    assert OpenAIResponse.model_validate(whole).status == "completed"
    assert [(item["type"], item["name"], item["arguments"]) for item in whole["output"]] == [
        ("function_call", *call) for call in CALLS
    ]
    assert len({item["call_id"] for item in whole["output"]}) == len({item["id"] for item in whole["output"]}) == 2
    events = named_events((await respond(api, stream=True)).text)
    last = events[-1][1]["response"]
    assert unnamed(last["output"]) == unnamed(whole["output"])
    for index, item in enumerate(last["output"]):
        own = [(kind, body) for kind, body in events if body.get("output_index") == index]
        added, done = own[0][1]["item"], own[-1][1]["item"]
        assert (added["name"], added["arguments"], added["status"]) == (item["name"], "", "in_progress")
        assert done == item
        deltas = [body["delta"] for kind, body in own if kind == "response.function_call_arguments.delta"]
        assert "".join(deltas) == item["arguments"] == own[-2][1]["arguments"]
        assert own[-2][0] == "response.function_call_arguments.done"
        assert all(body["item_id"] == item["id"] for _, body in own[1:-1])


@PER_DELTA
async def test_calls_are_blocks_of_a_message(api: Api, model: str, per_delta: int) -> None:
    say(api, calls_for(model, *CALLS), per_delta=per_delta)
    whole = (await send(api)).json()
    assert whole["stop_reason"] == "tool_use"
    assert [(block["type"], block["name"], block["input"]) for block in whole["content"]] == [
        ("tool_use", name, json.loads(arguments)) for name, arguments in CALLS
    ]
    events = named_events((await send(api, stream=True)).text)
    for index, block in enumerate(whole["content"]):
        own = [(kind, body) for kind, body in events if body.get("index") == index]
        assert (own[0][0], own[-1][0]) == ("content_block_start", "content_block_stop")
        assert unnamed([own[0][1]["content_block"]]) == unnamed([block | {"input": {}}])
        deltas = [body["delta"] for _, body in own[1:-1]]
        assert {delta["type"] for delta in deltas} == {"input_json_delta"}
        assert json.loads("".join(delta["partial_json"] for delta in deltas)) == block["input"]
    assert dict(events)["message_delta"]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize("model", ["hermes", "mistral"], indirect=True)
@PER_DELTA
async def test_text_before_calls_is_an_item_of_its_own(api: Api, model: str, per_delta: int) -> None:
    say(api, "hello there" + calls_for(model, CALLS[0]), per_delta=per_delta)
    body = (await respond(api)).json()
    assert [item["type"] for item in body["output"]] == ["message", "function_call"]
    assert body["output"][0]["content"][0]["text"] == "hello there"
    assert (await send(api)).json()["content"][0] == {"type": "text", "text": "hello there"}
    last = named_events((await respond(api, stream=True)).text)[-1][1]["response"]
    assert [item["type"] for item in last["output"]] == ["message", "function_call"]


async def test_calls_and_their_answers_go_through_the_template(api: Api, model: str) -> None:
    say(api, calls_for(model, *CALLS))
    called = (await respond(api)).json()
    answers = [{"type": "function_call_output", "call_id": i["call_id"], "output": "sunny"} for i in called["output"]]
    await respond(api, input=[{"role": "user", "content": "hello"}, *called["output"], *answers])
    by_hand = prompt_of(api)
    assert by_hand.count("sunny") == 2
    assert "Köln" in by_hand or "K\\u00f6ln" in by_hand
    await respond(api, input=answers, previous_response_id=called["id"])
    assert prompt_of(api) == by_hand


async def test_blocks_of_calls_go_through_the_template(api: Api, model: str) -> None:
    say(api, calls_for(model, *CALLS))
    content = (await send(api)).json()["content"]
    results = [
        {"type": "tool_result", "tool_use_id": content[0]["id"], "content": "sunny"},
        {"type": "tool_result", "tool_use_id": content[1]["id"], "is_error": True,
         "content": [{"type": "text", "text": "no clock"}]},
        {"type": "text", "text": "and now?"},
    ]  # fmt: skip
    turns = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": results},
    ]
    assert (await send(api, messages=turns)).status_code == 200
    shown = prompt_of(api)
    assert "sunny" in shown
    assert "Error: no clock" in shown
    assert shown.endswith("and now?<|end|><|assistant|>")
    response = await send(api, messages=turns[:2])
    assert (response.status_code, "no tool_result" in response.json()["error"]["message"]) == (400, True)


async def test_a_call_that_was_cut_is_incomplete(api: Api, model: str) -> None:
    say(api, calls_for(model, CALLS[0]))
    limit = 0
    while not await _is_cut(api, limit := limit + 1):
        assert limit < 200
    body = (await respond(api, max_output_tokens=limit)).json()
    (item,) = body["output"]
    assert (body["status"], item["type"], item["status"]) == ("incomplete", "function_call", "incomplete")
    message = (await send(api, max_tokens=limit)).json()
    assert message["stop_reason"] == "max_tokens"
    assert set(message["content"][0]["input"]) <= {"city"}


async def _is_cut(api: Api, limit: int) -> bool:
    output = (await respond(api, max_output_tokens=limit)).json()["output"]
    return output[0]["type"] == "function_call" and "city" in output[0]["arguments"]


@pytest.mark.parametrize("model", ["hermes"], indirect=True)
async def test_which_tools_the_model_is_told_of(api: Api, model: str) -> None:
    say(api, "hello")
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "time"}]}
    for choice, told in (("auto", 2), ("none", 0), (allowed, 1)):
        body = (await respond(api, tool_choice=choice)).json()
        assert sum(f'"{name}"' in prompt_of(api) for name, _ in CALLS) == told
        assert body["tool_choice"] == choice
    await send(api, tool_choice={"type": "none"})
    assert '"weather"' not in prompt_of(api)


@pytest.mark.parametrize("model", ["hermes"], indirect=True)
async def test_parallel_calls_can_be_turned_off(api: Api, model: str) -> None:
    say(api, calls_for(model, *CALLS))
    assert len((await respond(api, parallel_tool_calls=False)).json()["output"]) == 1
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert len((await send(api, tool_choice=choice)).json()["content"]) == 1


@pytest.mark.parametrize("model", ["hermes"], indirect=True)
async def test_log_probabilities_are_not_given_beside_tools(api: Api, model: str) -> None:
    response = await respond(api, top_logprobs=2)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "top_logprobs")


@pytest.mark.parametrize("model", ["hermes"], indirect=True)
@pytest.mark.parametrize(
    ("response", "message"),
    [
        ("required", {"type": "any"}),
        ({"type": "function", "name": "time"}, {"type": "tool", "name": "time"}),
        ("auto", {"type": "auto"}),
    ],
)
async def test_a_call_that_is_demanded_is_held_to_its_schema(api: Api, response: Any, message: Any) -> None:
    chat = {
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name, _ in CALLS],
        "tool_choice": {"type": "function", "function": {"name": "time"}} if isinstance(response, dict) else response,
    }
    say(api, calls_for("hermes", CALLS[1]))
    await api.post("/v1/chat/completions", chat)
    assert (await respond(api, tool_choice=response)).json()["output"][0]["name"] == "time"
    assert (await send(api, tool_choice=message)).json()["stop_reason"] == "tool_use"
    grammars = [request.sampling.grammar for request in api.engine.requests]
    assert len(set(grammars)) == 1
    assert (grammars[0] is None) == (response == "auto")
