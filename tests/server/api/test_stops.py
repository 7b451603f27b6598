"""How answers end: the model's own end, stop tokens, stop strings, limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.api import Api, build_tokenizer, events, streamed_text
from support.fake_engine import FakeEngine

from loraplex_server.api.rendering.renderer import Renderer

Says = Callable[..., FakeEngine]


async def both(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    """The choice, whole; its stream must say the same."""
    body = {"prompt": "hello", "max_tokens": 100, **body}
    choice = (await api.complete(body)).json()["choices"][0]
    chunks = events((await api.complete({**body, "stream": True})).text)
    assert streamed_text(chunks) == choice["text"]
    last = chunks[-1]["choices"][0]
    assert (last["finish_reason"], last["stop_reason"]) == (choice["finish_reason"], choice["stop_reason"])
    assert sum(chunk["choices"][0]["finish_reason"] is not None for chunk in chunks) == 1
    return dict(choice)


@pytest.mark.parametrize("per_delta", [1, 2, 5, 100])
@pytest.mark.parametrize(
    ("stop", "text", "reason"),
    [
        ("brown", "the quick ", "brown"),
        (["lazy", "fox"], "the quick brown ", "fox"),
        ("k b", "the quic", "k b"),
        ("日", "the quick brown fox jumps over the lazy ", "日"),
        ("本😀", "the quick brown fox jumps over the lazy 日", "本😀"),
        ("never", "the quick brown fox jumps over the lazy 日本😀", None),
    ],
)
async def test_a_stop_string_ends_the_answer_wherever_tokens_cut_it(
    api: Api, says: Says, stop: Any, text: str, reason: str | None, per_delta: int
) -> None:
    says("the quick brown fox jumps over the lazy 日本😀").per_delta = per_delta
    choice = await both(api, {"stop": stop})
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (text, "stop", reason)


async def test_the_engine_is_told_of_a_stop_string(api: Api, says: Says) -> None:
    says("the quick brown fox", end=False)
    body = (await api.complete({"prompt": "hello", "stop": "quick", "n": 2, "return_token_ids": True})).json()
    request_id = api.engine.requests[0].request_id
    assert api.engine.aborts == [(request_id, 0), (request_id, 1)]
    assert [choice["text"] for choice in body["choices"]] == ["the ", "the "]
    ids = body["choices"][0]["token_ids"]
    assert api.renderer.decode(ids).startswith("the quick")
    assert body["usage"]["completion_tokens"] == 2 * len(ids)


async def test_one_choice_that_stopped_leaves_the_others_running(api: Api) -> None:
    def script(request: Any, index: int) -> list[int]:
        return api.renderer.tokenizer.encode("stop here" if index == 0 else "hello there world").ids

    api.engine.script = script
    body = (await api.complete({"prompt": "x", "stop": "stop", "n": 2})).json()
    assert [choice["text"] for choice in body["choices"]] == ["", "hello there world"]
    assert [choice["finish_reason"] for choice in body["choices"]] == ["stop", "length"]


async def test_a_stop_string_can_be_shown(api: Api, says: Says) -> None:
    says("the quick brown fox")
    choice = await both(api, {"stop": "quick", "include_stop_str_in_output": True})
    assert (choice["text"], choice["stop_reason"]) == ("the quick", "quick")


async def test_stop_strings_wait_for_min_tokens(api: Api, says: Says) -> None:
    says("the the the the")
    words = len(api.renderer.tokenizer.encode("the the").ids)
    choice = await both(api, {"stop": " the", "min_tokens": words})
    assert choice["text"] == "the the"
    assert choice["stop_reason"] == " the"


async def test_the_models_end_is_a_token_without_text(api: Api, says: Says) -> None:
    says("hello")
    choice = await both(api, {"return_token_ids": True, "skip_special_tokens": False})
    assert choice["text"] == "hello"
    assert choice["token_ids"][-1] == api.renderer.end_tokens[0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", None)
    assert api.engine.requests[0].sampling.stop_token_ids == api.renderer.end_tokens


async def test_the_models_end_can_be_ignored(api: Api, says: Says) -> None:
    end = api.renderer.end_tokens[0]
    ids = [*api.renderer.tokenizer.encode("he").ids, end, *api.renderer.tokenizer.encode("he").ids]
    api.engine.script = lambda request, index: ids
    choice = await both(api, {"ignore_eos": True, "return_token_ids": True})
    assert choice["token_ids"] == ids
    assert choice["text"] == "hehe"
    assert choice["finish_reason"] == "length"
    assert (await both(api, {"ignore_eos": True, "skip_special_tokens": False}))["text"] == "he<|end|>he"


@pytest.mark.parametrize("shown", [False, True])
async def test_a_requests_own_stop_token_is_named_and_hidden(api: Api, says: Says, shown: bool) -> None:
    says("the quick brown")
    ids = api.renderer.tokenizer.encode("the quick brown").ids
    body = {"stop_token_ids": [ids[-1]], "return_token_ids": True, "include_stop_str_in_output": shown}
    choice = await both(api, body)
    assert choice["text"] == api.renderer.decode(ids if shown else ids[:-1])
    assert choice["token_ids"] == ids
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", ids[-1])
    assert set(api.engine.requests[0].sampling.stop_token_ids) == {*api.renderer.end_tokens, ids[-1]}


async def test_text_held_for_a_stop_string_is_shown_at_the_end(api: Api, says: Says) -> None:
    says("hello wor")
    assert (await both(api, {"stop": "world"}))["text"] == "hello wor"
    says("hello wor", end=False)
    choice = await both(api, {"stop": "world"})
    assert (choice["text"], choice["finish_reason"]) == ("hello wor", "length")


async def test_half_a_character_at_the_limit_is_dropped(api: Api, says: Says) -> None:
    says("he日")
    count = len(api.renderer.tokenizer.encode("he日").ids)
    choice = await both(api, {"max_tokens": count - 1, "return_token_ids": True})
    assert choice["text"] == "he"
    assert len(choice["token_ids"]) == count - 1


async def test_end_tokens_beyond_the_vocabulary_are_left_out(api: Api, adapters: Path) -> None:
    renderer = Renderer(build_tokenizer(), [1, 7, 512, 2**40, -1])
    await Api(api.engine, renderer, adapters).complete({"prompt": "x"})
    assert api.engine.requests[0].sampling.stop_token_ids == (1, 7)
