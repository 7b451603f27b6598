"""The smaller fields of completions and chats: best_of, the prompt's log probabilities, truncation, ids and tiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.api import Api, events
from support.fake_engine import FakeEngine

from loraplex_server.api.rendering.renderer import Renderer


@pytest.fixture
def lengths(engine: FakeEngine, renderer: Renderer) -> Callable[[list[int]], None]:
    """Answers of so many tokens, by index; the engine's log probabilities sink with each token."""

    def say(counts: list[int]) -> None:
        engine.script = lambda request, index: [10 + index] * counts[index] + [renderer.end_tokens[0]]

    return say


async def test_the_likeliest_of_several_answers_are_returned(api: Api, lengths: Any) -> None:
    lengths([3, 1, 2, 4])
    body = {"prompt": ["x", "y"], "n": 2, "best_of": 4, "max_tokens": 8}
    answer = (await api.complete(body)).json()
    token = api.renderer.decode([11]), api.renderer.decode([12, 12])
    assert [choice["text"] for choice in answer["choices"]] == [*token, *token]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [choice["logprobs"] for choice in answer["choices"]] == [None] * 4
    # What was generated was computed, returned or not.
    assert answer["usage"]["completion_tokens"] == 2 * (3 + 1 + 2 + 4 + 4)
    assert {request.sampling.logprobs for request in api.engine.requests} == {0}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"n": 3, "best_of": 2}, "'best_of': must not be less than 'n'"),
        ({"best_of": 2, "stream": True}, "'best_of': which are the best is known at the end"),
        ({"prompt": ["x"] * 600, "best_of": 2}, "'best_of': 600 prompts with 2 each make more than 1024 answers"),
        ({"prompt_logprobs": 1, "stream": True}, "'prompt_logprobs': only allowed when 'stream' is false"),
        ({"prompt_logprobs": 21}, "'prompt_logprobs': "),
        ({"truncate_prompt_tokens": 0}, "'truncate_prompt_tokens': must be -1 or at least 1"),
        ({"request_id": "a b"}, "'request_id': "),
        ({"suffix": "y"}, "'suffix' is not supported here: the models were not made to fill in the middle"),
        ({"logprob_token_ids": [1]}, "'logprob_token_ids' is not supported here: ask for 'logprobs'"),
        ({"service_tier": "priority"}, "'service_tier': "),
    ],
)
async def test_what_cannot_be_is_refused(api: Api, body: dict[str, Any], said: str) -> None:
    refused = await api.complete({"prompt": "x"} | body)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith(said)
    assert api.engine.requests == []


async def test_best_of_as_many_as_are_wanted_is_no_choice_and_streams(api: Api) -> None:
    chunks = events((await api.complete({"prompt": "x", "n": 2, "best_of": 2, "stream": True})).text)
    assert {choice["index"] for chunk in chunks for choice in chunk["choices"]} == {0, 1}
    assert (await api.chat({"best_of": 2})).json()["error"]["message"].startswith("'best_of' is not supported here: on")


async def test_the_prompts_log_probabilities_come_as_vllm_has_them(api: Api) -> None:
    body = {"prompt": [10, 11, 12], "prompt_logprobs": 2, "echo": True, "logprobs": 1, "max_tokens": 1, "n": 2}
    answer = (await api.complete(body)).json()
    first, second = answer["choices"]
    assert first["prompt_logprobs"] == second["prompt_logprobs"]
    assert first["prompt_logprobs"][0] is None
    own, other = first["prompt_logprobs"][1].items()
    text = api.renderer.vocabulary.text
    assert own == ("11", {"logprob": -0.25, "rank": 1, "decoded_token": text(11)})
    assert other == ("12", {"logprob": -2.0, "rank": 2, "decoded_token": text(12)})
    # The echo shows as many alternatives as `logprobs` asked for, not as `prompt_logprobs` did.
    assert [None if top is None else len(top) for top in first["logprobs"]["top_logprobs"]] == [None, 1, 1, 1]


async def test_a_chats_prompt_has_them_beside_the_choices(api: Api) -> None:
    answer = (await api.chat({"prompt_logprobs": 0, "return_token_ids": True, "n": 2})).json()
    assert len(answer["prompt_logprobs"]) == len(answer["prompt_token_ids"])
    assert all(
        list(each) == [str(id)]
        for each, id in zip(answer["prompt_logprobs"][1:], answer["prompt_token_ids"][1:], strict=True)
    )


@pytest.mark.parametrize(("side", "kept"), [(None, [12, 13]), ("left", [12, 13]), ("right", [10, 11])])
async def test_a_long_prompt_is_cut_to_its_end_or_its_beginning(api: Api, side: str | None, kept: list[int]) -> None:
    body = {"prompt": [10, 11, 12, 13], "truncate_prompt_tokens": 2, "truncation_side": side, "echo": True}
    answer = (await api.complete(body)).json()
    assert api.engine.requests[0].prompt_token_ids == kept
    assert answer["usage"]["prompt_tokens"] == 2
    assert answer["choices"][0]["text"].startswith(api.renderer.decode(kept))


async def test_a_prompt_longer_than_the_context_can_be_cut_to_what_fits(api: Api) -> None:
    prompt = [10] * 300
    assert (await api.complete({"prompt": prompt})).status_code == 400
    assert (await api.complete({"prompt": prompt, "truncate_prompt_tokens": -1, "max_tokens": 6})).status_code == 200
    assert len(api.engine.requests[-1].prompt_token_ids) == 256 - 6
    text = "hello there " * 300
    assert (await api.complete({"prompt": text, "truncate_prompt_tokens": 5, "echo": True})).status_code == 200
    assert (await api.chat({"messages": [{"role": "user", "content": text}], "truncate_prompt_tokens": 4})).is_success
    assert [len(request.prompt_token_ids) for request in api.engine.requests[-2:]] == [5, 4]


async def test_tokens_may_be_shown_as_ids(api: Api) -> None:
    body = {"prompt": "x", "max_tokens": 1, "logprobs": 1, "return_tokens_as_token_ids": True}
    logprobs = (await api.complete(body)).json()["choices"][0]["logprobs"]
    (token,) = logprobs["tokens"]
    assert token.startswith("token_id:")
    assert list(logprobs["top_logprobs"][0]) == [token]
    chat = {"logprobs": True, "top_logprobs": 1, "return_tokens_as_token_ids": True, "max_tokens": 1}
    (entry,) = (await api.chat(chat)).json()["choices"][0]["logprobs"]["content"]
    assert entry["token"].startswith("token_id:")
    assert bytes(entry["bytes"]).decode() == entry["token"]


async def test_an_id_of_the_senders_ends_the_responses_and_two_may_have_the_same(api: Api) -> None:
    answers = [(await api.complete({"prompt": "x", "request_id": "mine"})).json() for _ in range(2)]
    assert [answer["id"] for answer in answers] == ["cmpl-mine", "cmpl-mine"]
    assert (await api.chat({"request_id": "mine"})).json()["id"] == "chatcmpl-mine"
    assert len({request.request_id for request in api.engine.requests}) == 3


async def test_the_tier_that_was_asked_for_is_told(api: Api) -> None:
    assert (await api.chat({"service_tier": "auto"})).json()["service_tier"] == "default"
    assert "service_tier" not in (await api.chat({})).json()
    chunks = events((await api.complete({"prompt": "x", "service_tier": "default", "stream": True})).text)
    assert {chunk["service_tier"] for chunk in chunks} == {"default"}


async def test_streams_without_padding_are_what_there_is(api: Api) -> None:
    body = {"prompt": "x", "stream": True, "stream_options": {"include_obfuscation": False}}
    assert (await api.complete(body)).status_code == 200
    body["stream_options"] = {"include_obfuscation": True}
    assert (await api.complete(body)).status_code == 400
