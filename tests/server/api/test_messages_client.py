"""/v1/messages as the anthropic client sees it, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest
from support.api import Api, serve_app, until
from support.fake_engine import FakeEngine
from support.tool_models import build_tool_api, calls_for, say

from loraplex_server.engine.interface import EngineDeadError, EngineError, QueueFullError

Says = Callable[..., FakeEngine]
ASK: dict[str, Any] = {"max_tokens": 200, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def client(api: Api) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with serve_app(api) as url, anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as client:
        yield client


async def test_create(client: anthropic.AsyncAnthropic, says: Says) -> None:
    says("hello 日本語 there")
    message = await client.messages.create(model="alpha", system="be brief", **ASK)
    assert (message.model, message.stop_reason, message.role) == ("alpha", "end_turn", "assistant")
    assert message.content[0].text == "hello 日本語 there"
    assert message._request_id
    counted = await client.messages.count_tokens(model="alpha", system="be brief", messages=ASK["messages"])
    assert counted.input_tokens == message.usage.input_tokens + message.usage.cache_read_input_tokens


@pytest.mark.parametrize("limit", [4, 200])
async def test_the_client_puts_a_stream_together(client: anthropic.AsyncAnthropic, says: Says, limit: int) -> None:
    says("hello 日本語 there and there")
    whole = await client.messages.create(model="base", **ASK | {"max_tokens": limit})
    async with client.messages.stream(model="base", **ASK | {"max_tokens": limit}) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == whole.content[0].text
    assert final.model_dump(exclude={"id"}) == whole.model_dump(exclude={"id"})
    assert final.stop_reason == ("max_tokens" if limit == 4 else "end_turn")


async def test_errors_have_their_types(client: anthropic.AsyncAnthropic, api: Api) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        await client.messages.create(model="nobody", **ASK)
    assert (caught.value.type, caught.value.request_id is not None) == ("not_found_error", True)
    image = {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}
    with pytest.raises(anthropic.BadRequestError, match="'image' are not served"):
        await client.messages.create(model="base", max_tokens=5, messages=[image])
    for failure, kind in (
        (QueueFullError("full", retry_after=1), anthropic.RateLimitError),
        (EngineDeadError("gone"), anthropic._exceptions.OverloadedError),
        (EngineError("broken"), anthropic.InternalServerError),
    ):
        api.engine.failure = failure
        with pytest.raises(kind):
            await client.messages.create(model="base", **ASK)


async def test_a_wrong_key_is_an_authentication_error(make_api: Callable[..., Api]) -> None:
    api = make_api(api_key=["right"])
    async with serve_app(api) as url, anthropic.AsyncAnthropic(base_url=url, api_key="right", max_retries=0) as client:
        assert (await client.messages.create(model="base", **ASK)).stop_reason == "end_turn"
        with pytest.raises(anthropic.AuthenticationError):
            await client.with_options(api_key="wrong").messages.create(model="base", **ASK)


async def test_an_error_in_a_stream_is_raised(client: anthropic.AsyncAnthropic, says: Says) -> None:
    engine = says("hello there")
    engine.failure, engine.fail_after = EngineError("broken"), 2
    read: list[str] = []

    async def read_all() -> None:
        async with client.messages.stream(model="base", **ASK) as stream:
            async for piece in stream.text_stream:
                read.append(piece)  # noqa: PERF401 - what was read before the error counts

    with pytest.raises(anthropic.APIStatusError, match="broken"):
        await read_all()
    assert read


async def test_a_client_that_hangs_up_ends_the_work(client: anthropic.AsyncAnthropic, api: Api, says: Says) -> None:
    says("hello " * 50, end=False).delay = 0.01
    async with client.messages.stream(model="base", **ASK) as stream:
        async for _ in stream.text_stream:
            break
    await until(lambda: api.engine.closed_early)


async def test_tools_in_a_loop(adapters: Path) -> None:
    api = build_tool_api("hermes", adapters)
    say(api, "Let me look. " + calls_for("hermes", ("weather", '{"city": "Köln"}')), per_delta=2)
    tools = [{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
    async with serve_app(api) as url, anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as client:
        async with client.messages.stream(model="base", tools=tools, **ASK) as stream:
            final = await stream.get_final_message()
        text, call = final.content
        assert (final.stop_reason, text.text, call.name, call.input) == (
            "tool_use",
            "Let me look.",
            "weather",
            {"city": "Köln"},
        )
        say(api, "sunny")
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "sun"}
        turns = [
            *ASK["messages"],
            {"role": "assistant", "content": final.content},
            {"role": "user", "content": [result]},
        ]
        after = await client.messages.create(model="base", max_tokens=50, tools=tools, messages=turns)
        assert after.content[0].text == "sunny"
        counted = await client.messages.count_tokens(model="base", tools=tools, messages=turns)
        assert counted.input_tokens == after.usage.input_tokens + after.usage.cache_read_input_tokens
