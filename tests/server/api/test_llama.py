"""llama.cpp's own /completion and its numbers of adapters, which completions and chats take too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.api import Api, write_adapters
from support.fake_engine import FakeEngine

from loraplex_server.engine.interface import EngineError

Says = Callable[..., FakeEngine]


async def complete(api: Api, **body: Any) -> httpx.Response:
    return await api.post("/completion", {"prompt": "hi"} | body)


def lines(response: httpx.Response) -> list[Any]:
    """Bodies of a stream's events; there is no [DONE]."""
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


async def test_adapters_have_numbers_that_never_change(api: Api, adapters: Path) -> None:
    listed = (await api.get("/lora-adapters")).json()
    assert listed == [{"id": n, "path": name, "scale": 0.0} for n, name in enumerate(["alpha", "beta", "gamma"])]
    write_adapters(adapters, "aaa")
    for file in (adapters / "beta").iterdir():
        file.unlink()
    listed = (await api.get("/lora-adapters")).json()
    assert [(each["id"], each["path"]) for each in listed] == [(0, "alpha"), (2, "gamma"), (3, "aaa")]
    assert (await complete(api, lora=[{"id": 1, "scale": 1.0}])).status_code == 404


@pytest.mark.parametrize("path", ["/completion", "/v1/completions", "/v1/chat/completions"])
async def test_a_request_names_adapters_by_number_with_their_scales(api: Api, path: str) -> None:
    prompt = {"messages": [{"role": "user", "content": "x"}]} if "chat" in path else {"prompt": "x"}
    lora = [{"id": 2, "scale": 0.5}, {"id": 0, "scale": -1}, {"id": 1, "scale": 0.0}]
    assert (await api.post(path, prompt | {"lora": lora})).status_code == 200
    uses = api.engine.requests[0].adapters
    assert [(use.source.name, use.weight) for use in uses] == [("gamma", 0.5), ("alpha", -1.0)]
    unknown = await api.post(path, prompt | {"lora": [{"id": 7, "scale": 1}]})
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (404, "lora")
    twice = await api.post(path, prompt | {"lora": [{"id": 0, "scale": 1}] * 2})
    assert twice.status_code == 400


async def test_numbers_exclude_names(api: Api) -> None:
    lora = [{"id": 0, "scale": 1.0}]
    for body in ({"adapters": [{"name": "beta"}]}, {"model": "beta"}):
        refused = await api.complete({"prompt": "x", "lora": lora} | body)
        assert refused.status_code == 400
    refused = await api.complete({"prompt": "x", "lora": [{"id": 1, "scale": 0.0}], "model": "beta"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "lora")
    assert api.engine.requests == []


async def test_scales_for_everybody_are_refused(api: Api) -> None:
    refused = await api.post("/lora-adapters", [{"id": 0, "scale": 1.0}])
    assert refused.status_code == 400
    assert "send 'lora' with each request" in refused.json()["error"]["message"]


async def test_a_whole_answer(api: Api, says: Says) -> None:
    says("stop here\nand there")
    answer = (await complete(api, stop=["there"], n_probs=2, return_tokens=True, lora=[{"id": 0, "scale": 1}])).json()
    assert answer["content"] == "stop here\nand "
    assert (answer["stop"], answer["stop_type"], answer["stopping_word"]) == (True, "word", "there")
    assert answer["has_new_line"]
    assert answer["tokens_predicted"] == len(answer["tokens"])
    assert answer["prompt"] == "hi"
    assert answer["generation_settings"]["lora"] == [{"id": 0, "scale": 1.0}]
    assert {len(each["top_logprobs"]) for each in answer["completion_probabilities"]} == {2}
    assert answer["timings"]["predicted_n"] == answer["tokens_predicted"]
    assert all(value >= 0 for value in answer["timings"].values())


async def test_how_an_answer_ended(api: Api, says: Says) -> None:
    says("hello there")
    assert (await complete(api)).json()["stop_type"] == "eos"
    short = (await complete(api, n_predict=1)).json()
    assert (short["stop_type"], short["tokens_predicted"], short["tokens"]) == ("limit", 1, [])
    nothing = (await complete(api, n_predict=0)).json()
    assert (nothing["content"], nothing["tokens_predicted"]) == ("", 0)


async def test_several_prompts_or_answers_are_a_list(api: Api) -> None:
    assert [each["index"] for each in (await complete(api, prompt=["a", "b"], n_cmpl=2)).json()] == [0, 1, 2, 3]
    assert isinstance((await complete(api, prompt=[10, 11])).json(), dict)
    assert len((await complete(api, prompt=["only"])).json()) == 1


async def test_its_word_for_any_seed_is_no_seed(api: Api) -> None:
    for seed in (-1, 4294967295, 4294967294):
        await complete(api, seed=seed)
    assert [request.sampling.seed for request in api.engine.requests] == [None, None, 4294967294]


async def test_its_defaults_and_names_reach_the_engine(api: Api) -> None:
    await complete(api)
    await complete(
        api,
        temperature=-1,
        top_k=0,
        top_p=1.0,
        min_p=0,
        repeat_penalty=1.1,
        repeat_last_n=-1,
        seed=7,
        logit_bias=[[15, 1.5], [16, False]],
        ignore_eos=True,
        cache_prompt=True,
        id_slot=-1,
        mirostat=0,
    )
    plain, asked = (request.sampling for request in api.engine.requests)
    assert (plain.temperature, plain.top_k, plain.top_p, plain.min_p, plain.seed) == (0.8, 40, 0.95, 0.05, None)
    assert (asked.temperature, asked.top_k, asked.top_p, asked.seed) == (0.0, 0, 1.0, 7)
    assert (asked.repetition_penalty, asked.logit_bias, asked.stop_token_ids) == (1.1, {15: 1.5, 16: -100.0}, ())


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"repeat_penalty": 1.1}, "repeat_last_n"),
        ({"mirostat": 2}, "mirostat"),
        ({"typical_p": 0.5}, "typical_p"),
        ({"samplers": ["top_k"]}, "samplers"),
        ({"cache_prompt": False}, "cache_prompt"),
        ({"dry_multiplier": 0.8}, "dry_multiplier"),
        ({"prompt": [12, "x"]}, "prompt"),
        ({"logit_bias": [["x", 1]]}, "logit_bias"),
        ({"logit_bias": {"15": "x"}}, "logit_bias"),
        ({"lora": [{"id": 0}]}, "lora"),
        ({"n_predict": -2}, "n_predict"),
    ],
)
async def test_what_is_not_served_is_refused_by_name(api: Api, body: dict[str, Any], named: str) -> None:
    refused = await complete(api, **body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, named)


async def test_what_its_clients_send_to_chats_changes_nothing(api: Api) -> None:
    body = {"cache_prompt": True, "id_slot": 0, "timings_per_token": False, "dry_multiplier": 0.0, "min_keep": 0}
    assert (await api.chat(body)).status_code == 200
    assert (await api.chat({"samplers": ["top_k"]})).status_code == 400


async def test_a_stream_has_the_text_and_then_its_end(api: Api, says: Says) -> None:
    says("héllo 日本 there")
    events = lines(await complete(api, stream=True, n_probs=1))
    assert [each["stop"] for each in events] == [False] * (len(events) - 1) + [True]
    assert "".join(each["content"] for each in events) == "héllo 日本 there"
    assert (events[-1]["content"], events[-1]["stop_type"], events[-1]["tokens"]) == ("", "eos", [])
    probabilities = [one for each in events for one in each.get("completion_probabilities", ())]
    assert len(probabilities) == events[-1]["tokens_predicted"]


async def test_a_failure_in_a_stream_is_its_last_event(api: Api, says: Says) -> None:
    says("stop here and there")
    api.engine.failure, api.engine.fail_after = EngineError("odd"), 2
    events = lines(await complete(api, stream=True))
    assert events[-1]["error"]["message"] == "odd"


async def test_an_answer_may_have_to_follow_a_grammar_or_a_schema(api: Api) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    for wanted in ({"json_schema": schema}, {"json_schema": {}}, {"grammar": 'root ::= "yes" | "no"'}):
        assert (await complete(api, **wanted)).status_code == 200
    assert all(request.sampling.grammar for request in api.engine.requests)
    assert (await complete(api, json_schema=schema, grammar="root ::= x")).json()["error"]["param"] == "grammar"
    for field, value in (("grammar", "root ::= (("), ("json_schema", {"type": "x"})):
        error = (await complete(api, **{field: value})).json()["error"]
        assert (error["param"], error["message"].split(":")[0]) == (field, f"'{field}'")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_whose_time_is_over_ended_at_a_limit(api: Api, says: Says, stream: bool) -> None:
    says("stop here and there").times_out_after = 2
    answer = await complete(api, stream=stream)
    end = lines(answer)[-1] if stream else answer.json()
    assert (end["stop_type"], end["stopping_word"]) == ("limit", "")


async def test_a_stream_tells_of_each_token_where_they_are_asked_for(api: Api, says: Says) -> None:
    """Also of those that only begin a character, or what may be a stop string."""
    says("日本 there")
    whole = (await complete(api, return_tokens=True)).json()
    events = lines(await complete(api, return_tokens=True, stream=True, stop=["there and more"]))
    assert [id for each in events for id in each["tokens"]] == whole["tokens"]


async def test_each_end_shows_its_own_prompt(api: Api) -> None:
    ends = (await complete(api, prompt=["a", "b"], n_cmpl=2)).json()
    assert [each["prompt"] for each in ends] == ["a", "a", "b", "b"]
