"""/v1/responses and /v1/messages against the demo, with their own clients: the answers are those of chats."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

import anthropic
import openai
import pytest
from pydantic import BaseModel
from support.servers import Server

Heldout = dict[str, list[dict[str, str]]]
LIMIT = 48


@pytest.fixture
async def openai_client(demo: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{demo.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic_client(demo: Server) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=demo.url, api_key="none", max_retries=0) as client:
        yield client


def turns(prompt: str) -> list[Any]:
    return [{"role": "user", "content": prompt}]


async def chat(client: openai.AsyncOpenAI, model: str, messages: list[Any]) -> str:
    answer = await client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=LIMIT)
    return answer.choices[0].message.content or ""


async def test_all_three_apis_answer_alike(
    openai_client: openai.AsyncOpenAI, anthropic_client: anthropic.AsyncAnthropic, heldout: Heldout
) -> None:
    for model, examples in heldout.items():
        prompt = examples[0]["prompt"]
        expected = await chat(openai_client, model, turns(prompt))
        options: dict[str, Any] = {"model": model, "input": prompt, "max_output_tokens": LIMIT, "temperature": 0}
        response = await openai_client.responses.create(**options)
        assert response.output_text == expected
        events = [event async for event in await openai_client.responses.create(**options, stream=True)]
        assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == expected
        assert events[-1].response.usage.output_tokens == response.usage.output_tokens
        asked: dict[str, Any] = {"model": model, "max_tokens": LIMIT, "messages": turns(prompt)}
        greedy = {"extra_body": {"temperature": 0}}
        message = await anthropic_client.messages.create(**asked, **greedy)
        assert message.content[0].text == expected
        async with anthropic_client.messages.stream(**asked, **greedy) as stream:
            assert await stream.get_final_text() == expected
        read = message.usage.input_tokens + message.usage.cache_read_input_tokens
        counted = await anthropic_client.messages.count_tokens(model=model, messages=turns(prompt))
        assert read == counted.input_tokens == response.usage.input_tokens


class Person(BaseModel):
    """Nothing in it is long: a small model might never end it."""

    sane: bool
    kind: Literal["cat", "dog"]


async def test_both_clients_parse_what_has_a_schema(
    openai_client: openai.AsyncOpenAI, anthropic_client: anthropic.AsyncAnthropic
) -> None:
    calm = {"temperature": 0}  # noise may fill any limit with white space
    response = await openai_client.responses.parse(
        model="base", input="who?", text_format=Person, max_output_tokens=200, **calm
    )
    assert isinstance(response.output_parsed, Person)
    message = await anthropic_client.messages.parse(
        model="base", max_tokens=200, messages=turns("who?"), output_format=Person, extra_body=calm
    )
    assert isinstance(message.parsed_output, Person)


async def test_a_conversation_goes_on(openai_client: openai.AsyncOpenAI, heldout: Heldout) -> None:
    model, examples = next(iter(heldout.items()))
    first, second = examples[0]["prompt"], examples[1]["prompt"]
    answer = await openai_client.responses.create(model=model, input=first, max_output_tokens=LIMIT, temperature=0)
    after = await openai_client.responses.create(
        model=model, input=second, max_output_tokens=LIMIT, temperature=0, previous_response_id=answer.id
    )
    told = [*turns(first), {"role": "assistant", "content": answer.output_text}, *turns(second)]
    assert after.output_text == await chat(openai_client, model, told)
    assert after.usage.input_tokens > answer.usage.input_tokens + answer.usage.output_tokens
