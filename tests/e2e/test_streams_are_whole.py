"""A stream put together is the answer that comes whole, on every route: bytes of one character and stop strings in
several tokens among them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from support.servers import Server

PROMPTS = ("grüße 東京 🎉 ", "naïve café — ", "the story was excellent", "Ω≈ç√∫ 你好 ")
MODELS = ("base", "reverse", "json")
Event = dict[str, Any]


@dataclass(frozen=True)
class Route:
    """How one API is asked, and where its answers have their text."""

    path: str
    body: Callable[[str, str, list[str], int], dict[str, Any]]  # of model, prompt, stop strings and seed
    whole: Callable[[Any], list[str]]
    put_together: Callable[[list[Event]], list[str]]
    streaming: str = "stream"  # a field of the body, or another path
    shows_stop: bool = False  # whether an answer ends with the stop string


def _sampling(seed: int) -> dict[str, Any]:
    return {"temperature": 1.8, "seed": seed, "max_tokens": 40}


def _completion(model: str, prompt: str, stop: list[str], seed: int) -> dict[str, Any]:
    return {"model": model, "prompt": [prompt, prompt[:3]], "n": 2, "stop": stop} | _sampling(seed)


def _chat(model: str, prompt: str, stop: list[str], seed: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "messages": messages, "n": 2, "stop": stop} | _sampling(seed)


def _response(model: str, prompt: str, stop: list[str], seed: int) -> dict[str, Any]:
    sampling = {"temperature": 1.8, "seed": seed, "max_output_tokens": 40}
    return {"model": model, "input": prompt, "stop": stop} | sampling


def _message(model: str, prompt: str, stop: list[str], seed: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "messages": messages, "stop_sequences": stop, "seed": seed} | _sampling(seed)


def _generate(model: str, prompt: str, stop: list[str], seed: int) -> dict[str, Any]:
    sampling = {"temperature": 1.8, "do_sample": True, "seed": seed, "max_new_tokens": 40}
    named = {} if model == "base" else {"adapter_id": model}
    return {"inputs": prompt, "parameters": {"stop": stop, "details": True} | sampling | named}


def _native(model: str, prompt: str, stop: list[str], seed: int) -> dict[str, Any]:
    return {"model": model, "prompt": prompt, "stop": stop, "temperature": 1.8, "seed": seed, "n_predict": 40} | {
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
    }


def _choices(events: Iterable[Event], text: Callable[[Event], str]) -> list[str]:
    found: dict[int, str] = {}
    for event in events:
        for choice in event["choices"]:
            found[choice["index"]] = found.get(choice["index"], "") + text(choice)
    return [found[index] for index in sorted(found)]


def _deltas(events: Iterable[Event], kind: str, text: Callable[[Event], str]) -> list[str]:
    return ["".join(text(event) for event in events if event["type"] == kind)]


ROUTES = {
    "completions": Route(
        "/v1/completions",
        _completion,
        lambda body: [choice["text"] for choice in body["choices"]],
        lambda events: _choices(events, lambda choice: choice["text"]),
    ),
    "chat": Route(
        "/v1/chat/completions",
        _chat,
        lambda body: [choice["message"]["content"] for choice in body["choices"]],
        lambda events: _choices(events, lambda choice: choice["delta"].get("content") or ""),
    ),
    "responses": Route(
        "/v1/responses",
        _response,
        lambda body: ["".join(part["text"] for item in body["output"] for part in item["content"])],
        lambda events: _deltas(events, "response.output_text.delta", lambda event: event["delta"]),
    ),
    "messages": Route(
        "/v1/messages",
        _message,
        lambda body: ["".join(block["text"] for block in body["content"])],
        lambda events: _deltas(events, "content_block_delta", lambda event: event["delta"]["text"]),
    ),
    "generate": Route(
        "/generate",
        _generate,
        lambda body: [body["generated_text"]],
        lambda events: [events[-1]["generated_text"]],
        "/generate_stream",
        shows_stop=True,
    ),
    "completion": Route(
        "/completion",
        _native,
        lambda body: [body["content"]],
        lambda events: ["".join(event["content"] for event in events)],
    ),
}


def events_of(text: str) -> list[Event]:
    data = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
    return [json.loads(each) for each in data if each != "[DONE]"]


def both_ways(demo: Server, route: Route, body: dict[str, Any]) -> tuple[list[str], list[str]]:
    whole = demo.post(route.path, body)
    assert whole.status_code == 200, whole.text
    if route.streaming == "stream":
        stream = demo.post(route.path, body | {"stream": True})
    else:
        stream = demo.post(route.streaming, body)
    assert stream.status_code == 200, stream.text
    return route.whole(whole.json()), route.put_together(events_of(stream.text))


def stops_within(texts: list[str], dice: random.Random) -> list[str]:
    """Parts of the answers: tokens end where they like, so most of them lie across some."""
    parts = []
    for text in texts:
        if len(text) > 6:
            first = dice.randrange(2, len(text) - 3)
            parts.append(text[first : first + dice.randrange(1, 4)])
    return [part for part in parts if part.strip()][:2]


@pytest.mark.parametrize("name", ROUTES)
def test_a_stream_is_the_answer(demo: Server, name: str) -> None:
    route, dice = ROUTES[name], random.Random(name)
    wide = stopped = 0
    for seed in range(12):
        model, prompt = MODELS[seed % len(MODELS)], PROMPTS[seed % len(PROMPTS)]
        whole, streamed = both_ways(demo, route, route.body(model, prompt, [], seed))
        assert streamed == whole
        wide += any(ord(character) > 127 for text in whole for character in text)
        stops = stops_within(whole, dice)
        if stops:
            cut, streamed = both_ways(demo, route, route.body(model, prompt, stops, seed))
            assert streamed == cut
            assert route.shows_stop or not any(stop in text for stop in stops for text in cut)
            stopped += cut != whole
    assert wide > 0
    assert stopped > 3
