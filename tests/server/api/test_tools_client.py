"""The openai client calls tools: whole, streamed as it accumulates itself, and a round with a tool's answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from support.api import Api, serve_app
from support.tool_models import MODELS, build_tool_api, calls_for, function, say

CALLS = [("get_weather", '{"city": "Köln 😀"}'), ("get_time", "{}")]
TOOLS: list[Any] = [
    function("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}),
    function("get_time"),
]
HELLO: Any = {"role": "user", "content": "hello"}


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def api(model: str, adapters: Path) -> Api:
    return build_tool_api(model, adapters)


@pytest.fixture
async def client(api: Api) -> AsyncIterator[openai.AsyncOpenAI]:
    async with serve_app(api) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        yield client


async def test_a_whole_round_of_an_agent(client: openai.AsyncOpenAI, api: Api, model: str) -> None:
    say(api, calls_for(model, *CALLS))
    messages: list[Any] = [HELLO]
    completion = await client.chat.completions.create(model="test-model", messages=messages, tools=TOOLS)
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert [(call.function.name, call.function.arguments) for call in choice.message.tool_calls] == CALLS
    messages.append(choice.message)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in choice.message.tool_calls]
    say(api, "It is sunny.")
    completion = await client.chat.completions.create(model="test-model", messages=messages, tools=TOOLS)
    assert (completion.choices[0].message.content, completion.choices[0].finish_reason) == ("It is sunny.", "stop")
    prompt = api.renderer.decode(api.engine.requests[-1].prompt_token_ids, skip_special_tokens=False)
    assert json.loads(CALLS[0][1])["city"] in prompt
    assert prompt.count("]sunny<|end|>") == 2


async def test_a_stream_as_the_client_accumulates_it(client: openai.AsyncOpenAI, api: Api, model: str) -> None:
    say(api, calls_for(model, *CALLS))
    async with client.chat.completions.stream(model="test-model", messages=[HELLO], tools=TOOLS) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    message = final.choices[0].message
    assert [(call.function.name, call.function.arguments) for call in message.tool_calls] == CALLS
    assert final.choices[0].finish_reason == "tool_calls"
    assert kinds.count("tool_calls.function.arguments.done") == 2
    assert kinds.count("tool_calls.function.arguments.delta") > 2
    assert not message.content


class GetWeather(BaseModel):
    """What the weather is like."""

    city: str


async def test_the_clients_own_tools_are_parsed(client: openai.AsyncOpenAI, api: Api, model: str) -> None:
    say(api, calls_for(model, ("GetWeather", '{"city": "Rom"}')))
    tool = openai.pydantic_function_tool(GetWeather)
    del tool["function"]["strict"]
    completion = await client.chat.completions.create(model="test-model", messages=[HELLO], tools=[tool])
    (call,) = completion.choices[0].message.tool_calls
    assert GetWeather.model_validate_json(call.function.arguments).city == "Rom"


async def test_errors_are_the_clients_own(client: openai.AsyncOpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError, match="'web_search'"):
        await client.chat.completions.create(model="test-model", messages=[HELLO], tools=[{"type": "web_search"}])
