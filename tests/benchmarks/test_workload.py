from __future__ import annotations

import json
from typing import Any

import pytest

from loraplex_server.bench.load.extra import extra_fields
from loraplex_server.bench.load.lengths import Fixed, Uniform
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.popularity import Popularity
from loraplex_server.bench.load.targets import Targets
from loraplex_server.bench.load.workload import plan

TARGETS = Targets("http://127.0.0.1:1", "base", tuple(f"a{number}" for number in range(4)))


def bodies(seed: int = 0, **options: Any) -> list[dict[str, Any]]:
    settings = LoadOptions(**{"requests": 6, "concurrency": 2, "popularity": Popularity("distinct"), **options})
    return [json.loads(request.body) for request in plan(settings, TARGETS, seed)]


def test_the_same_seed_plans_the_same_and_another_seed_other_prompts() -> None:
    assert bodies(seed=5) == bodies(seed=5)
    assert bodies(seed=5)[0]["prompt"] != bodies(seed=6)[0]["prompt"]


def test_prompts_are_ids_in_range_of_the_exact_length() -> None:
    for body in bodies(prompt=Fixed(300), token_ids=(10, 20)):
        assert len(body["prompt"]) == 300
        assert set(body["prompt"]) == set(range(10, 20))


def test_requests_ask_for_a_greedy_stream_of_fixed_length_with_usage() -> None:
    body = bodies(output=Fixed(9))[1]
    assert {key: body[key] for key in body if key != "prompt"} == {
        "model": "a1",
        "max_tokens": 9,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }


def test_other_lengths_draw_the_same_adapters() -> None:
    law = Popularity("zipf", 1.0)
    short, long = (bodies(popularity=law, requests=30, prompt=lengths) for lengths in (Fixed(4), Uniform(9, 99)))
    assert [body["model"] for body in short] == [body["model"] for body in long]


def test_chat_sends_words() -> None:
    (message,) = bodies(endpoint="chat", prompt=Fixed(12))[0]["messages"]
    assert message["role"] == "user"
    assert len(message["content"].split()) == 12


def test_extra_fields_carry_the_adapters_index_as_a_number() -> None:
    extra = {"lora": [{"id": "{i}", "scale": 1.0}], "cache_prompt": False, "tag": "lora-{i}"}
    assert extra_fields(extra, 3) == {"lora": [{"id": 3, "scale": 1.0}], "cache_prompt": False, "tag": "lora-3"}
    assert extra_fields(extra, None) == {"cache_prompt": False}


def test_an_extra_null_takes_a_field_out() -> None:
    assert "stream_options" not in bodies(extra={"stream_options": None})[0]


def test_distinct_needs_an_adapter_for_each_request_at_once() -> None:
    with pytest.raises(ValueError, match="5 requests at once need as many adapters, there are 4"):
        bodies(concurrency=5)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"rate": 3.0}, "--rate"),
        ({"concurrency": None}, "--concurrency"),
        ({"requests": 0}, "--requests"),
        ({"base_share": 1.5}, "--base-share"),
        ({"token_ids": (9, 9)}, "--token-ids"),
        ({"endpoint": "embeddings"}, "--endpoint"),
        ({"timeout_s": 0.0}, "--timeout"),
    ],
)
def test_a_bad_setting_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        bodies(**options)
