"""The openai client against the demo: everything at once, and each answer as if it had been alone."""

from __future__ import annotations

import asyncio

import openai
import pytest
from support.servers import Server

Heldout = dict[str, list[dict[str, str]]]


@pytest.fixture
async def client(demo: Server):
    async with openai.AsyncOpenAI(base_url=f"{demo.url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def ask(client: openai.AsyncOpenAI, model: str, prompt: str, *, stream: bool) -> str:
    messages = [{"role": "user", "content": prompt}]
    options = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 64}
    if not stream:
        return (await client.chat.completions.create(**options)).choices[0].message.content
    chunks = [chunk async for chunk in await client.chat.completions.create(**options, stream=True)]
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


async def test_64_mixed_requests_at_once_are_answered_as_each_alone(
    client: openai.AsyncOpenAI, heldout: Heldout
) -> None:
    names = [*heldout, "base", "no-such-adapter"]
    work = [(names[i % len(names)], i) for i in range(64)]

    def prompt(name: str, i: int) -> str:
        examples = heldout.get(name) or heldout[next(iter(heldout))]
        return examples[i % len(examples)]["prompt"]

    alone = {}
    for name, i in work:
        if name != "no-such-adapter":
            alone[name, i] = await ask(client, name, prompt(name, i), stream=False)
    together = await asyncio.gather(
        *(ask(client, name, prompt(name, i), stream=i % 2 == 0) for name, i in work), return_exceptions=True
    )
    for (name, i), answer in zip(work, together, strict=True):
        if name == "no-such-adapter":
            assert isinstance(answer, openai.NotFoundError)
            assert answer.body["param"] == "model"
        else:
            assert answer == alone[name, i], (name, i)


async def test_completions_and_models_as_the_client_types_them(client: openai.AsyncOpenAI, heldout: Heldout) -> None:
    models = {model.id: model async for model in await client.models.list()}
    assert set(heldout) < set(models)
    (base,) = [model for model in models.values() if model.parent is None]
    assert all(model.parent == base.id for model in models.values() if model is not base)
    completion = await client.completions.create(
        model="base", prompt=["one", "two"], max_tokens=4, temperature=0, logprobs=2, echo=True, n=1
    )
    assert [choice.index for choice in completion.choices] == [0, 1]
    logprobs = completion.choices[0].logprobs
    assert logprobs.token_logprobs[0] is None
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset)
    assert "".join(logprobs.tokens) == completion.choices[0].text
