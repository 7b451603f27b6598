"""The demo with speculation: every adapter's answers as without it, alone and together, and what the server tells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.api import until
from support.engines import make_engine, request, run
from support.knowing_drafts import drafting
from support.servers import DEMO, Server, serving
from transformers import AutoTokenizer

from loraplex_server.engine.core import EngineCore

Heldout = dict[str, list[dict[str, str]]]
ASKED = '{"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_min": 2, "prompt_lookup_max": 4}'


@pytest.fixture(scope="module")
def cores() -> Iterator[tuple[EngineCore, EngineCore]]:
    """Without speculation, and with it."""
    made = [
        make_engine(DEMO / "base", max_num_seqs=32, kv_cache_memory=64 << 20, speculation=speculation)
        for speculation in ("off", "ngram")
    ]
    yield made[0], drafting(made[1])
    for core in made:
        core.store.close()


@pytest.fixture(scope="module")
def prompts(heldout: Heldout) -> list[tuple[str, list[int]]]:
    """Three of each adapter and of the base, token ids."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")
    asked = [(name, line["prompt"]) for name, lines in heldout.items() for line in lines[:3]]
    asked += [("", line["prompt"]) for line in heldout["json"][:3]]
    return [
        (
            name,
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=True, return_dict=False
            ),
        )
        for name, text in asked
    ]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7, "top_p": 0.9}], ids=["greedy", "seeded"])
@pytest.mark.parametrize("at_once", [1, 5, 33])
def test_every_adapters_answers_are_the_same(
    cores: tuple[EngineCore, EngineCore],
    prompts: list[tuple[str, list[int]]],
    at_once: int,
    sampling: dict[str, Any],
) -> None:
    plain, bold = cores
    bold.forget_history()
    asked = [
        request(
            str(place), tokens, [name] if name else [], root=DEMO / "adapters", max_tokens=48, seed=place, **sampling
        )
        for place, (name, tokens) in enumerate(prompts)
    ]
    steps = [0, 0]
    for first in range(0, len(asked), at_once):
        expected, found = (run(core, asked[first : first + at_once]) for core in cores)
        for name, output in found.items():
            assert (output.tokens, output.finish_reason) == (expected[name].tokens, expected[name].finish_reason)
            assert output.logprobs == pytest.approx(expected[name].logprobs, abs=1e-4)
        steps = [count + len(core.stats().steps.tokens) for count, core in zip(steps, (plain, bold), strict=True)]
    assert bold.stats().drafts.accepted_total > 20
    assert steps[1] < steps[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    arguments = ["serve", str(DEMO / "base"), "--adapters", str(DEMO / "adapters"), "--speculative-config", ASKED]
    with serving(arguments, tmp_path_factory.mktemp("speculating") / "log") as running:
        yield running


def streamed(server: Server, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = server.post("/v1/completions", body | {"stream": True})
    assert response.status_code == 200
    events = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    return [json.loads(event)["choices"][0] for event in events[:-1]]


def test_a_stream_of_several_tokens_at_once_adds_up_to_the_whole_answer(server: Server, heldout: Heldout) -> None:
    for name in ("json", "sort", "words"):
        body = {
            "model": name,
            "prompt": heldout[name][0]["prompt"],
            "max_tokens": 60,
            "temperature": 0,
            "logprobs": 2,
            "ignore_eos": True,
        }
        whole = server.post("/v1/completions", body).json()
        pieces = streamed(server, body)
        (choice,) = whole["choices"]
        assert "".join(piece["text"] for piece in pieces) == choice["text"]
        for key in ("tokens", "token_logprobs", "text_offset"):
            assert [item for piece in pieces for item in (piece["logprobs"] or {key: []})[key]] == pytest.approx(
                choice["logprobs"][key], abs=0.05
            )
        assert whole["usage"]["completion_tokens"] == 60
        stop = choice["text"][20:23]  # may lie across tokens, and within a draft
        ended = server.post("/v1/completions", body | {"stop": [stop]}).json()["choices"][0]
        assert ended["text"] == choice["text"][: choice["text"].index(stop)]
        assert ended["finish_reason"] == "stop"
        assert "".join(piece["text"] for piece in streamed(server, body | {"stop": [stop]})) == ended["text"]


async def test_metrics_tell_of_drafts_and_of_each_token(server: Server) -> None:
    before = values(server)
    body = {"model": "base", "prompt": "a b a b a b a", "max_tokens": 100, "temperature": 0, "ignore_eos": True}
    tokens = server.post("/v1/completions", body).json()["usage"]["completion_tokens"]
    grew: dict[str, float] = {}

    def told() -> bool:
        grew.update({name: value - before.get(name, 0.0) for name, value in values(server).items()})
        return grew["vllm:spec_decode_num_accepted_tokens_total"] > 0 and grew["vllm:generation_tokens_total"] > 0

    await until(told)
    drafts, drafted, accepted = (
        grew[f"vllm:spec_decode_num_{name}_total"] for name in ("drafts", "draft_tokens", "accepted_tokens")
    )
    assert 0 < drafts <= drafted <= 5 * drafts
    assert accepted <= drafted
    at = [grew.get(f"vllm:spec_decode_num_accepted_tokens_per_pos_total[{place}]", 0.0) for place in range(5)]
    assert sum(at) == accepted
    assert at == sorted(at, reverse=True)
    assert grew["vllm:generation_tokens_total"] == tokens
    assert grew["vllm:inter_token_latency_seconds_count"] == tokens - 1


def values(server: Server) -> dict[str, float]:
    """Of all metrics, by name and position."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(server.get("/metrics").text):
        for sample in family.samples:
            place = sample.labels.get("position")
            found[sample.name + (f"[{place}]" if place else "")] = sample.value
    return found
