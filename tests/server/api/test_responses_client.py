"""/v1/responses as the openai client sees it, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import openai
import pytest
from support.api import Api, serve_app, until
from support.fake_engine import FakeEngine
from support.tool_models import build_tool_api, calls_for, say

from loraplex_server.engine.interface import EngineError

Says = Callable[..., FakeEngine]


@pytest.fixture
async def client(api: Api) -> AsyncIterator[openai.AsyncOpenAI]:
    async with serve_app(api) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        yield client


async def test_create_retrieve_go_on_and_delete(client: openai.AsyncOpenAI, says: Says) -> None:
    says("hello 日本語 there")
    first = await client.responses.create(model="alpha", input="hi", instructions="be brief", top_logprobs=2)
    assert (first.output_text, first.status, first.model) == ("hello 日本語 there", "completed", "alpha")
    assert len(first.output[0].content[0].logprobs) == first.usage.output_tokens
    assert (await client.responses.retrieve(first.id)).output_text == first.output_text
    second = await client.responses.create(model="alpha", input="and?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert second.usage.input_tokens > first.usage.input_tokens
    await client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="alpha", input="and?", previous_response_id=first.id)
    assert caught.value.code == "previous_response_not_found"


async def test_the_input_of_a_stored_response_can_be_listed(client: openai.AsyncOpenAI, says: Says) -> None:
    says("hello there")
    first = await client.responses.create(model="base", input="one")
    turns = [*first.output, *({"role": "user", "content": text} for text in "abc")]
    second = await client.responses.create(model="base", input=turns, previous_response_id=first.id)
    pages = client.responses.input_items.list(second.id, limit=3)
    assert [item.content[0].text async for item in pages] == ["c", "b", "a", "hello there"]
    (only,) = (await client.responses.input_items.list(first.id, order="asc")).data
    assert (only.role, only.content[0].text, only.type) == ("user", "one", "message")
    assert (await client.responses.input_items.list(second.id, order="asc")).data[0].id == first.output[0].id
    with pytest.raises(openai.BadRequestError):
        await client.responses.input_items.list(second.id, after="nowhere")
    with pytest.raises(openai.NotFoundError):
        await client.responses.input_items.list("resp_nowhere")


async def test_an_answer_can_be_sent_back(client: openai.AsyncOpenAI, api: Api, says: Says) -> None:
    says("hello there")
    first = await client.responses.create(model="base", input="hi", top_logprobs=1)
    await client.responses.create(
        model="base", input=[{"role": "user", "content": "hi"}, *first.output, {"role": "user", "content": "more"}]
    )
    shown = api.renderer.decode(api.engine.requests[-1].prompt_token_ids, skip_special_tokens=False)
    assert shown == "<|user|>hi<|end|><|assistant|>hello there<|end|><|user|>more<|end|><|assistant|>"


@pytest.mark.parametrize("limit", [4, None])
async def test_the_client_puts_a_stream_together(client: openai.AsyncOpenAI, says: Says, limit: int | None) -> None:
    says("hello 日本語 there and there")
    options = {"model": "base", "input": "hi", "max_output_tokens": limit or openai.omit}
    whole = await client.responses.create(**options)
    text, kinds = "", []
    async with client.responses.stream(**options) as stream:
        async for event in stream:
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                text += event.delta
                assert event.snapshot == text
    assert kinds[-1] == ("response.incomplete" if limit else "response.completed")
    assert text == whole.output_text
    raw = [event async for event in await client.responses.create(**options, stream=True)]
    assert [event.sequence_number for event in raw] == list(range(len(raw)))
    assert raw[-1].response.output_text == text
    assert raw[-1].response.usage == whole.usage
    assert raw[-1].response.status == whole.status


async def test_an_error_in_a_stream_is_seen(client: openai.AsyncOpenAI, says: Says) -> None:
    engine = says("hello there")
    engine.failure, engine.fail_after = EngineError("broken"), 2
    events = [event async for event in await client.responses.create(model="base", input="hi", stream=True)]
    assert (events[-1].type, events[-1].response.error.message) == ("response.failed", "broken")


async def test_a_client_that_hangs_up_ends_the_work(client: openai.AsyncOpenAI, api: Api, says: Says) -> None:
    says("hello " * 50, end=False).delay = 0.01
    stream = await client.responses.create(model="base", input="hi", stream=True)
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    await until(lambda: api.engine.closed_early)
    assert len(api.services.responses) == 0


async def test_tokens_are_counted(client: openai.AsyncOpenAI) -> None:
    counted = await client.responses.input_tokens.count(model="base", input="hi", instructions="be")
    answered = await client.responses.create(model="base", input="hi", instructions="be")
    assert counted.input_tokens == answered.usage.input_tokens


async def test_tools_in_a_loop(adapters: Path) -> None:
    api = build_tool_api("hermes", adapters)
    say(api, "Let me look. " + calls_for("hermes", ("weather", '{"city": "Köln"}')), per_delta=2)
    tools = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}]
    async with serve_app(api) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        async with client.responses.stream(model="base", input="weather?", tools=tools) as stream:
            kinds = {event.type async for event in stream}
            final = await stream.get_final_response()
        assert {"response.output_text.done", "response.function_call_arguments.done"} <= kinds
        message, call = final.output
        assert (message.content[0].text, call.name, call.arguments) == ("Let me look.", "weather", '{"city": "Köln"}')
        say(api, "sunny")
        answer = {"type": "function_call_output", "call_id": call.call_id, "output": "sun"}
        after = await client.responses.create(
            model="base", input=[answer], tools=tools, previous_response_id=final.id, tool_choice="auto"
        )
        assert after.output_text == "sunny"
