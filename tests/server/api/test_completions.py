from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from support.api import Api, events, streamed_text
from support.fake_engine import INFO, FakeEngine

from loraplex_server.api.answers import parameters
from loraplex_server.api.forms import choices_form
from loraplex_server.engine.interface import InvalidRequestError

Says = Callable[..., FakeEngine]


async def test_a_completion_has_openai_shape(api: Api, says: Says) -> None:
    says("hello world")
    response = await api.complete({"model": "test-model", "prompt": "the quick"})
    assert response.status_code == 200
    body = response.json()
    prompt = len(api.renderer.tokenizer.encode("the quick").ids)
    output = len(api.renderer.tokenizer.encode("hello world").ids) + 1
    assert body.pop("id").startswith("cmpl-")
    assert body.pop("created") > 1_700_000_000
    assert body.pop("system_fingerprint").startswith("loraplex-")
    assert body == {
        "object": "text_completion",
        "model": "test-model",
        "choices": [
            {"index": 0, "text": "hello world", "logprobs": None, "finish_reason": "stop", "stop_reason": None}
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": 1},
        },
    }


@pytest.mark.parametrize(
    ("prompt", "several"),
    [
        ("hello", ["hello"]),
        (["hello", "the"], ["hello", "the"]),
        ([7, 8, 9], [[7, 8, 9]]),
        ([[7, 8], [9]], [[7, 8], [9]]),
        (["hello", [9]], ["hello", [9]]),
    ],
)
async def test_a_prompt_may_be_text_or_tokens_one_or_several(
    api: Api, says: Says, prompt: Any, several: list[str | list[int]]
) -> None:
    says("hello")
    expected = [api.renderer.tokenizer.encode(p).ids if isinstance(p, str) else p for p in several]
    body = (await api.complete({"prompt": prompt})).json()
    assert [request.prompt_token_ids for request in api.engine.requests] == expected
    assert [choice["index"] for choice in body["choices"]] == list(range(len(expected)))
    assert body["usage"]["prompt_tokens"] == sum(map(len, expected))


async def test_choices_of_several_prompts_are_numbered_prompt_by_prompt(api: Api) -> None:
    def script(request: Any, index: int) -> list[int]:
        return api.renderer.tokenizer.encode(f"{request.prompt_token_ids[0]}.{index}").ids

    api.engine.script = script
    body = (await api.complete({"prompt": [[50], [60]], "n": 3})).json()
    texts = [choice["text"] for choice in body["choices"]]
    assert texts == ["50.0", "50.1", "50.2", "60.0", "60.1", "60.2"]
    assert [choice["index"] for choice in body["choices"]] == list(range(6))
    chunks = events((await api.complete({"prompt": [[50], [60]], "n": 3, "stream": True})).text)
    assert [streamed_text(chunks, index) for index in range(6)] == texts


async def test_echo_puts_the_prompt_first(api: Api, says: Says) -> None:
    says(" world")
    assert (await api.complete({"prompt": "hello", "echo": True})).json()["choices"][0]["text"] == "hello world"
    ids = api.renderer.tokenizer.encode("hello").ids
    body = (await api.complete({"prompt": ids, "echo": True, "n": 2})).json()
    assert [choice["text"] for choice in body["choices"]] == ["hello world"] * 2


async def test_echo_without_tokens_measures_the_prompt(api: Api, says: Says) -> None:
    says("unseen")
    response = await api.complete({"prompt": "hello héllo", "echo": True, "max_tokens": 0, "logprobs": 2})
    choice = response.json()["choices"][0]
    ids = api.renderer.tokenizer.encode("hello héllo").ids
    assert choice["text"] == "hello héllo"
    assert choice["finish_reason"] == "length"
    logprobs = choice["logprobs"]
    assert logprobs["token_logprobs"] == [None, *(-0.25 * (k + 1) for k in range(len(ids) - 1))]
    assert logprobs["top_logprobs"][0] is None
    assert len(logprobs["tokens"]) == len(logprobs["text_offset"]) == len(logprobs["top_logprobs"]) == len(ids)
    assert api.engine.requests[0].sampling.max_tokens == 0
    assert api.engine.requests[0].sampling.prompt_logprobs == 2
    assert response.json()["usage"]["completion_tokens"] == 0


async def test_logprobs_cover_prompt_and_answer_with_offsets_into_the_text(api: Api, says: Says) -> None:
    says(" wörld")
    body = {"prompt": "hellö", "echo": True, "logprobs": 0}
    choice = (await api.complete(body)).json()["choices"][0]
    logprobs = choice["logprobs"]
    prompt = api.renderer.tokenizer.encode("hellö").ids
    answer = [*api.renderer.tokenizer.encode(" wörld").ids, api.renderer.end_tokens[0]]
    assert logprobs["tokens"] == [api.renderer.vocabulary.text(id) for id in prompt + answer]
    assert choice["text"] == "hellö wörld"
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        if "\ufffd" not in token and token != "<|end|>":
            assert choice["text"][offset:].startswith(token)
    # The two bytes of "ö" begin where the character does.
    first, second = [i for i, token in enumerate(logprobs["tokens"]) if token == "\ufffd"][:2]
    assert logprobs["text_offset"][first] == logprobs["text_offset"][second] == 4
    assert logprobs["top_logprobs"][1] == {logprobs["tokens"][1]: -0.25}


async def test_top_logprobs_hold_the_alternatives_and_the_chosen_token(api: Api, says: Says) -> None:
    says("the")
    logprobs = (await api.complete({"prompt": "a", "logprobs": 3})).json()["choices"][0]["logprobs"]
    chosen = api.renderer.tokenizer.encode("the").ids[0]
    top = logprobs["top_logprobs"][0]
    assert top[api.renderer.vocabulary.text(chosen)] == logprobs["token_logprobs"][0]
    assert 1 <= len(top) <= 4


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("logprobs", [None, 2])
@pytest.mark.parametrize("per_delta", [1, 3])
async def test_a_stream_adds_up_to_the_whole(
    api: Api, says: Says, echo: bool, logprobs: int | None, per_delta: int
) -> None:
    says("hello 日本 world 😀!")
    api.engine.per_delta = per_delta
    body = {"prompt": ["the fox", "dog"], "n": 2, "echo": echo, "max_tokens": 40, "return_token_ids": True}
    body |= {"logprobs": logprobs} if logprobs is not None else {}
    whole = (await api.complete(body)).json()
    chunks = events((await api.complete({**body, "stream": True, "stream_options": {"include_usage": True}})).text)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        parts = [c for chunk in chunks[:-1] for c in chunk["choices"] if c["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [id for part in parts for id in part["token_ids"]] == choice["token_ids"]
        assert parts[0]["prompt_token_ids"] == choice["prompt_token_ids"]
        assert [part["finish_reason"] for part in parts] == [None] * (len(parts) - 1) + ["stop"]
        if logprobs is not None:
            for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
                assert [x for part in parts for x in part["logprobs"][key]] == choice["logprobs"][key]


async def test_max_tokens_is_sixteen_unless_given(api: Api, says: Says) -> None:
    says("the quick brown fox jumps over the lazy dog " * 4)
    choice = (await api.complete({"prompt": "hello"})).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    await api.complete({"prompt": "hello", "max_tokens": 3})
    await api.complete({"prompt": [5] * 250})
    assert [request.sampling.max_tokens for request in api.engine.requests] == [16, 3, 6]


async def test_special_tokens_can_be_left_off_the_prompt(api: Api, says: Says) -> None:
    says("x")
    await api.complete({"prompt": "hello", "add_special_tokens": False})
    assert api.engine.requests[0].prompt_token_ids == api.renderer.tokenizer.encode("hello").ids


async def test_one_failed_prompt_ends_the_others(api: Api, says: Says) -> None:
    says("hello " * 10)
    api.engine.delay = 0.01
    api.engine.failure, api.engine.fails = InvalidRequestError("bad"), lambda r: r.prompt_token_ids == [9]
    api.engine.fail_after = 2
    response = await api.complete({"prompt": [[7], [8], [9]]})
    assert response.status_code == 400
    assert len(api.engine.closed_early) == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("inline", [10**6, 0])
async def test_every_choice_has_its_prompts_log_probabilities(
    api: Api, says: Says, monkeypatch: pytest.MonkeyPatch, stream: bool, inline: int
) -> None:
    says("hello")
    monkeypatch.setattr(choices_form, "INLINE_LOGPROBS", inline)  # 0: all bodies are written on a thread
    prompts = [[40, 41, 42], [50, 51]]
    body = {"prompt": prompts, "n": 3, "echo": True, "logprobs": 1, "stream": stream}
    response = await api.complete(body)
    bodies = events(response.text) if stream else [response.json()]
    for index in range(6):
        parts = [choice["logprobs"] for body in bodies for choice in body["choices"] if choice["index"] == index]
        prompt = prompts[index // 3]
        answer = [*api.renderer.tokenizer.encode("hello").ids, api.renderer.end_tokens[0]]
        tokens = [token for part in parts for token in part["tokens"]]
        assert tokens == [api.renderer.vocabulary.text(id) for id in prompt + answer]
        expected = [None, *(-0.25 * (k + 1) for k in range(len(prompt) - 1))]
        assert parts[0]["token_logprobs"][: len(prompt)] == expected
        assert parts[0]["top_logprobs"][1] == {tokens[1]: -0.25}


async def test_more_prompt_log_probabilities_than_a_response_can_hold_are_refused(
    api: Api, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    says("hello")
    monkeypatch.setattr(parameters, "MAX_PROMPT_LOGPROBS", 24)
    body = {"prompt": [[40, 41], [42, 43]], "n": 2, "echo": True}
    assert (await api.complete({**body, "logprobs": 2})).status_code == 200
    assert (await api.complete({**body, "logprobs": 3, "echo": False})).status_code == 200
    asked = len(api.engine.requests)
    error = (await api.complete({**body, "logprobs": 3})).json()["error"]
    assert (error["param"], error["type"]) == ("logprobs", "invalid_request_error")
    assert "24" in error["message"]
    assert len(api.engine.requests) == asked


async def test_more_answers_than_there_is_room_for_are_refused_before_any_is_asked_for(
    make_api: Callable[..., Api],
) -> None:
    api = make_api(max_queued_requests=1)  # beside the engine's 8
    assert (await api.complete({"prompt": ["x"] * 3, "n": 3})).status_code == 200
    del api.engine.requests[:]
    for response in (await api.complete({"prompt": ["x"] * 5, "n": 2}), await api.chat({"n": 10})):
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, "n")
        assert "computes 8 at once and lets 1 wait" in error["message"]
    assert api.engine.requests == []


async def test_prompts_of_text_and_tokens_keep_their_order(api: Api, says: Says) -> None:
    says("!")
    texts = ["hello " * 1000, "the fox"]  # together too long to be tokenized on the event loop
    ids = [api.renderer.tokenizer.encode(text).ids for text in texts]
    api.engine.info = msgspec.structs.replace(INFO, max_model_len=10_000)
    body = {"prompt": [texts[0], ids[1], texts[1], ids[0]], "echo": True}
    choices = (await api.complete(body)).json()["choices"]
    assert [request.prompt_token_ids for request in api.engine.requests] == [ids[0], ids[1], ids[1], ids[0]]
    assert [choice["text"] for choice in choices] == [f"{texts[k]}!" for k in (0, 1, 1, 0)]


async def test_a_prompt_of_tokens_is_measured_before_anything_else(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def decode_all(lists: Any, skip_special_tokens: bool = True) -> list[str]:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(api.renderer, "decode_all", decode_all)
    response = await api.complete({"prompt": [40] * 1000, "echo": True})
    assert response.json()["error"]["code"] == "context_length_exceeded"
    response = await api.complete({"prompt": [[40], [5000]], "echo": True})
    assert "5000 is no token" in response.json()["error"]["message"]
