"""LoRAX's routes: bodies, events, headers and errors as its router has them and its client reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from support.api import Api
from support.fake_engine import FakeEngine

from loraplex_server.engine.interface import AdapterUnusableError, EngineError, QueueFullError

Says = Callable[..., FakeEngine]


async def generate(api: Api, path: str = "/generate", inputs: str = "hi", **parameters: Any) -> httpx.Response:
    return await api.post(path, {"inputs": inputs, "parameters": parameters})


def lines(response: httpx.Response) -> list[Any]:
    """Bodies of a stream's events, each of which is one line; there is no [DONE]."""
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


async def test_an_adapter_answers_by_its_id(api: Api) -> None:
    answer = await generate(api, adapter_id="alpha", adapter_source="local")
    assert answer.json() == {"generated_text": "hello from alpha 0"}
    assert (answer.headers["x-adapter-id"], answer.headers["x-adapter-source"]) == ("alpha", "local")
    assert answer.headers["x-model-id"] == "test-model"
    count = int(answer.headers["x-generated-tokens"])
    assert int(answer.headers["x-total-tokens"]) == count + int(answer.headers["x-prompt-tokens"])
    assert all(answer.headers[f"x-{name}-time"].isdigit() for name in ("total", "queue", "inference", "compute"))
    base = await generate(api)
    assert base.json() == {"generated_text": "hello from base 0"}
    assert "x-adapter-id" not in base.headers


async def test_details_tell_of_each_token(api: Api, says: Says) -> None:
    says("né")
    parameters = {"details": True, "decoder_input_details": True, "return_k_alternatives": 2, "seed": 5}
    details = (await generate(api, **parameters)).json()["details"]
    assert details["finish_reason"] == "eos_token"
    assert (details["generated_tokens"], details["seed"], details["skipped_tokens"]) == (len(details["tokens"]), 5, 0)
    assert details["tokens"][-1]["special"]
    assert "".join(token["text"] for token in details["tokens"] if not token["special"]) == "né"
    assert {len(token["alternative_tokens"]) for token in details["tokens"]} == {2}
    assert details["prefill"][0]["logprob"] is None
    assert len(details["prefill"]) == details["prompt_tokens"]
    assert details["prefill"][-1]["logprob"] < 0


async def test_tokens_are_the_likeliest_unless_something_asks_for_others(api: Api) -> None:
    for parameters in ({}, {"temperature": 1.0}, {"temperature": 0.0}, {"top_p": 1.0}):
        await generate(api, **parameters)
    for parameters in ({"do_sample": True}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.5}):
        await generate(api, **parameters)
    assert [request.sampling.temperature for request in api.engine.requests] == [0.0] * 4 + [1.0, 0.5, 1.0, 1.0]
    assert [request.sampling.top_k for request in api.engine.requests[-2:]] == [3, 0]


async def test_an_answer_fills_the_context_unless_it_is_told_otherwise(api: Api) -> None:
    await generate(api)
    await generate(api, max_new_tokens=7)
    first, second = (request.sampling.max_tokens for request in api.engine.requests)
    assert first == 256 - len(api.engine.requests[0].prompt_token_ids)
    assert second == 7


async def test_stop_sequences_are_part_of_the_text(api: Api, says: Says) -> None:
    says("stop here and there")
    answer = (await generate(api, stop=["here"], details=True)).json()
    assert answer["generated_text"] == "stop here"
    assert answer["details"]["finish_reason"] == "stop_sequence"
    cut = (await generate(api, max_new_tokens=1, details=True)).json()
    assert cut["details"]["finish_reason"] == "length"


async def test_the_prompt_comes_back_and_may_be_cut(api: Api) -> None:
    answer = await generate(api, inputs="the quick brown fox", return_full_text=True, truncate=2)
    assert answer.json()["generated_text"] == "the quick brown foxhello from base 0"
    whole = api.renderer.tokenizer.encode("the quick brown fox").ids
    assert api.engine.requests[0].prompt_token_ids == whole[-2:]


async def test_merged_adapters_are_added_up_with_their_weights(api: Api) -> None:
    merged = {"ids": ["alpha", "beta"], "weights": [0.25, 0.75], "merge_strategy": "linear", "density": 0.5}
    answer = await generate(api, merged_adapters=merged)
    uses = api.engine.requests[0].adapters
    assert [(use.source.name, use.weight) for use in uses] == [("alpha", 0.25), ("beta", 0.75)]
    assert answer.headers["x-adapter-id"] == "alpha,beta"


async def test_the_best_of_several_comes_first(api: Api) -> None:
    api.engine.script = lambda request, index: [20 + index] * (4 - index) + [api.renderer.end_tokens[0]]
    answer = (await generate(api, best_of=3, do_sample=True, details=True)).json()
    assert answer["generated_text"] == api.renderer.decode([22, 22])
    assert [each["generated_tokens"] for each in answer["details"]["best_of_sequences"]] == [5, 4]
    assert answer["details"]["generated_tokens"] == 3


@pytest.mark.parametrize("per_delta", [1, 3])
async def test_a_stream_has_an_event_a_token_and_the_text_in_the_last(api: Api, says: Says, per_delta: int) -> None:
    says("héllo 日本 there").per_delta = per_delta
    events = lines(await generate(api, "/generate_stream", details=True, return_full_text=True))
    assert all(each["generated_text"] is None and each["details"] is None for each in events[:-1])
    assert events[-1]["generated_text"] == "hihéllo 日本 there"
    details = events[-1]["details"]
    assert (details["finish_reason"], details["generated_tokens"]) == ("eos_token", len(events))
    assert "".join(each["token"]["text"] for each in events if not each["token"]["special"]) == "héllo 日本 there"


async def test_a_stream_whose_time_is_over_has_an_end_too(api: Api, says: Says) -> None:
    says("stop here and there").times_out_after = 2
    events = lines(await generate(api, "/generate_stream", details=True))
    assert [each["generated_text"] is None for each in events] == [True, True, False]
    assert events[-1]["generated_text"] == "".join(each["token"]["text"] for each in events[:2])
    assert (events[-1]["details"]["finish_reason"], events[-1]["details"]["generated_tokens"]) == ("length", 2)
    assert (events[-1]["token"]["text"], events[-1]["token"]["special"]) == ("", True)


async def test_the_root_path_does_either(api: Api) -> None:
    """As LoRAX's own client asks."""
    body = {"inputs": "hi", "parameters": {"adapter_id": "beta", "typical_p": None, "api_token": None}}
    assert (await api.post("/", body | {"stream": False})).json() == [{"generated_text": "hello from beta 0"}]
    assert lines(await api.post("/", body | {"stream": True}))[-1]["generated_text"] == "hello from beta 0"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"typical_p": 0.5}, "'parameters.typical_p'"),
        ({"watermark": True}, "'parameters.watermark'"),
        ({"api_token": "hush"}, "'parameters': api_token: is not supported here"),
        ({"adapter_source": "pbase"}, "'parameters.adapter_source'"),
        ({"apply_chat_template": True}, "'parameters.apply_chat_template'"),
        ({"best_of": 2}, "'parameters': best_of: all answers are the same without 'do_sample'"),
        ({"merged_adapters": {"ids": ["alpha"], "weights": [1, 2]}}, "'parameters.merged_adapters': weights: there"),
        ({"merged_adapters": {"ids": ["alpha"], "weights": [1], "merge_strategy": "ties"}}, "'parameters.merged_ad"),
        ({"adapter_id": "a", "merged_adapters": {"ids": ["b"], "weights": [1]}}, "'parameters': merged_adapters: exc"),
        ({"max_new_tokens": 300}, "This model's context holds 256 tokens"),
        ({"temperature": -1}, "'parameters.temperature'"),
        ({"grammar": {}}, "'parameters.grammar'"),
    ],
)
async def test_what_is_not_served_is_refused_by_name(api: Api, parameters: dict[str, Any], said: str) -> None:
    refused = await generate(api, **parameters)
    assert refused.status_code == 422
    assert refused.json()["error_type"] == "validation"
    assert refused.json()["error"].startswith(said)
    assert "hush" not in refused.text


@pytest.mark.parametrize("path", ["/generate", "/generate_stream", "/"])
@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (QueueFullError("full", 7), 429, "overloaded"),
        (AdapterUnusableError("adapter 'alpha' is refused: rank"), 424, "generation"),
        (EngineError("odd"), 500, "generation"),
    ],
)
async def test_failures_have_the_statuses_that_its_clients_know(
    api: Api, path: str, failure: EngineError, status: int, kind: str
) -> None:
    api.engine.failure = failure
    answer = await generate(api, path)
    assert (answer.status_code, answer.json()) == (status, {"error": str(failure), "error_type": kind})


async def test_an_unknown_adapter_is_a_failed_dependency(api: Api) -> None:
    answer = await generate(api, adapter_id="org/nobody", adapter_source="hub")
    assert (answer.status_code, answer.json()["error_type"]) == (424, "generation")


async def test_a_failure_in_a_stream_is_its_last_event(api: Api, says: Says) -> None:
    says("stop here and there")
    api.engine.failure, api.engine.fail_after = EngineError("odd"), 2
    events = lines(await generate(api, "/generate_stream"))
    assert [set(each) for each in events] == [{"token", "generated_text", "details"}] * 2 + [{"error", "error_type"}]


@pytest.mark.parametrize("field", ["best_of", "decoder_input_details"])
async def test_what_is_known_at_the_end_is_not_streamed(api: Api, field: str) -> None:
    value: Any = 2 if field == "best_of" else True
    refused = await generate(api, "/generate_stream", do_sample=True, **{field: value})
    assert (refused.status_code, refused.json()["error_type"]) == (422, "validation")


async def test_a_key_is_asked_for(make_api: Callable[..., Api]) -> None:
    api = make_api(api_key=["k"])
    for path in ("/", "/generate", "/generate_stream"):
        assert (await generate(api, path)).status_code == 401


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize(
    ("wanted", "constrained"),
    [
        ({"type": "text"}, False),
        ({"type": "json_object"}, True),
        ({"type": "json_object", "schema": SCHEMA}, True),
        ({"type": "json_schema", "schema": SCHEMA}, True),
    ],
)
async def test_an_answer_may_have_to_be_json(api: Api, wanted: dict[str, Any], constrained: bool) -> None:
    assert (await generate(api, response_format=wanted)).status_code == 200
    (request,) = api.engine.requests
    assert (request.sampling.grammar is not None) == constrained


async def test_a_text_has_a_vector(api: Api) -> None:
    answer = await api.post("/embed", {"inputs": "hello", "parameters": {"adapter_id": "beta"}})
    (request,) = api.engine.requests
    assert answer.json() == {"embeddings": [len(request.prompt_token_ids), request.prompt_token_ids[-1], 0.0, 3.0]}
    assert [use.source.name for use in request.adapters] == ["beta"]
    refused = await api.post("/embed", {"inputs": "hello", "parameters": {"api_token": "hush"}})
    assert (refused.status_code, refused.json()["error_type"]) == (422, "validation")


async def test_a_base_may_have_a_name_that_no_header_can(make_api: Callable[..., Api]) -> None:
    answer = await generate(make_api(served_model_name=("модель",)))
    assert answer.json() == {"generated_text": "hello from base 0"}
    assert answer.headers["x-model-id"] == "модель".encode("ascii", "backslashreplace").decode()
