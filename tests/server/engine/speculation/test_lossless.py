"""Answers are the same with and without speculation, whatever a request asks for, and wherever a draft goes wrong."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from support.checkpoints import VOCAB, prompt
from support.engines import Output, any_options, make_engine, request, run, step
from support.knowing_drafts import drafting, propose_known
from support.static_steps import with_graphs

from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.messages import Delta, GenerateRequest

NAMES = [None, "plain-r4", "dora", "plain-r32", "head"]
BLOCK = 2 * 3 * 2 * 8 * 16 * 4  # bytes: keys and values, layers, heads, tokens, head_dim, float32
CROWDED = {"kv_cache_memory": 14 * BLOCK, "max_model_len": 96, "max_num_seqs": 5, "max_num_batched_tokens": 40}
Answers = dict[tuple[str, int], Output]


def any_request(name: str, draw: random.Random, root: Path) -> GenerateRequest:
    """Of everything that a request may ask for."""
    adapter = draw.choice(NAMES)
    options = {
        **any_options(draw),
        "logit_bias": draw.choice([{}, {5: 3.0}]),
        "allowed_token_ids": draw.choice([None, None, tuple(range(0, VOCAB, 2))]),
        "bad_words": draw.choice([(), ((4,), (8,)), ((4, 6),)]),
        "top_p": draw.choice([1.0, 0.7]),
        "n": draw.choice([1, 1, 3]),
    }
    if options["max_tokens"] == 0 or draw.random() < 0.2:
        options["prompt_logprobs"] = 1
    tokens = prompt(draw.choice([1, 7, 8, 40]), draw.randrange(3))  # few of them: some share prefixes
    return request(name, tokens, [] if adapter is None else [adapter], root=root, **options)


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The texts put here are proposed, though not always rightly."""
    known: list[list[int]] = []
    propose_known(monkeypatch, known, VOCAB)
    return known


def same(outputs: Answers, expected: Answers) -> None:
    assert outputs.keys() == expected.keys()
    for name, output in outputs.items():
        other = expected[name]
        assert (output.tokens, output.finish_reason) == (other.tokens, other.finish_reason), name
        assert output.logprobs == pytest.approx(other.logprobs, abs=1e-4), name
        assert output.failure == other.failure
        one, two = (each.started and each.started.prompt_logprobs for each in (output, other))
        assert (one is None) == (two is None)


def with_adapters(core: EngineCore, root: Path, names: Iterable[str]) -> EngineCore:
    """An engine that has them: how long their loading takes would decide who meets whom, and in how many steps."""
    run(core, [request(name, prompt(3, 0), [name], root=root, max_tokens=1) for name in names])
    core.forget_history()
    return core


def accepted(core: EngineCore) -> int:
    return core.stats().drafts.accepted_total


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("overlap", [False, True], ids=["in turn", "overlapped"])
@pytest.mark.parametrize("options", [{}, CROWDED], ids=["roomy", "crowded"])
def test_every_answer_is_the_same(
    base: Path, adapters: Path, knowing: list[list[int]], options: dict[str, Any], overlap: bool, seed: int
) -> None:
    draw = random.Random(seed)
    asked = [any_request(f"r{number}", draw, adapters) for number in range(14)]
    names = [name for name in NAMES if name]
    plain = make_engine(base, **options)
    expected = run(plain, asked)
    plain.store.close()
    prompts = {each.request_id: each.prompt_token_ids for each in asked}
    knowing += [prompts[name] + output.tokens for (name, _), output in expected.items()]
    spare_rows = 3.0 if overlap else 1e9  # some are waited for, and others are not
    made = make_engine(base, overlap=overlap, speculation="ngram", **options)
    core = drafting(with_adapters(made, adapters, names), spare_rows)
    same(run(core, asked), expected)
    assert accepted(core) > (5 if overlap else 50)
    assert bool(core.scheduler.seats.counts.preemptions) == bool(options)
    core.store.close()


@pytest.mark.parametrize("way", ["tapes", "graphs", "neither"])
def test_the_way_that_a_step_is_run_changes_nothing(
    base: Path, adapters: Path, knowing: list[list[int]], way: str
) -> None:
    names = ["plain-r4", "dora", "rslora", "head"]
    asked = [
        request(f"r{place}", prompt(5 + place, place), names[place : place + 1], root=adapters, max_tokens=30)
        for place in range(6)
    ]
    plain = make_engine(base)
    expected = run(plain, asked)
    plain.store.close()
    prompts = {each.request_id: each.prompt_token_ids for each in asked}
    knowing += [prompts[name] + output.tokens for (name, _), output in expected.items()]
    made = make_engine(base, speculation="ngram", graphs=way == "tapes", max_num_seqs=6)
    core = drafting(with_adapters(made, adapters, names))
    capture = with_graphs(core) if way == "graphs" else None
    same(run(core, asked), expected)
    stats = core.stats()
    assert stats.drafts.accepted_total > 50
    assert 0 < len(stats.steps.tokens) < 25
    if capture is not None:
        assert len(core.runner.graphs.cache) > 0  # type: ignore[union-attr]
    core.store.close()


@pytest.mark.parametrize(
    "options",
    [
        {"max_num_seqs": 1},
        {"max_num_seqs": 1, "speculation_tokens": 1, "speculation_max_match": 1},
        {"max_model_len": 8, "kv_cache_memory": BLOCK},
        {"max_num_seqs": 2, "speculation_tokens": 32, "max_num_batched_tokens": 2, "block_size": 1},
    ],
)
def test_the_smallest_engine_speculates_too(base: Path, options: dict[str, Any]) -> None:
    core = make_engine(base, speculation="ngram", **options)
    speculation = core.scheduler.speculation
    assert speculation is not None
    assert speculation.spare_rows >= 1
    plain = make_engine(base, **options)
    asked = [request("a", [5, 6, 5], max_tokens=4), request("b", [7, 7, 7], max_tokens=4)]
    same(run(core, asked), run(plain, asked))
    plain.store.close()
    core.store.close()


def test_its_own_repetitions_are_found(base: Path) -> None:
    """Greedy answers of a random model run in circles, so that nobody need know them beforehand."""
    asked = [request(f"r{seed}", prompt(4, seed) * 3, max_tokens=60) for seed in range(6)]
    plain, core = make_engine(base), drafting(make_engine(base, speculation="ngram"))
    same(run(core, asked), run(plain, asked))
    stats = core.stats()
    assert stats.drafts.accepted_total > 0.5 * stats.drafts.tokens_total
    assert 0 < len(stats.steps.tokens) <= len(plain.stats().steps.tokens)
    plain.store.close()
    core.store.close()


def test_a_stop_token_within_a_draft_ends_the_answer_there(base: Path, knowing: list[list[int]]) -> None:
    plain, core = make_engine(base), drafting(make_engine(base, speculation="ngram"))
    free = run(plain, [request("a", prompt(5, 1), max_tokens=20)])["a", 0].tokens
    knowing.append(prompt(5, 1) + free)
    for place in range(3, 12):
        asked = [request("a", prompt(5, 1), max_tokens=20, stop_token_ids=(free[place],), min_tokens=2)]
        same(run(core, asked), run(plain, asked))
    asked = [request("a", prompt(5, 1), max_tokens=20, stop_token_ids=tuple(free[:9]), min_tokens=7)]
    same(run(core, asked), run(plain, asked))
    assert accepted(core) > 10
    plain.store.close()
    core.store.close()


def test_a_later_request_finds_what_counted_and_nothing_else(base: Path, knowing: list[list[int]]) -> None:
    plain, core = make_engine(base), drafting(make_engine(base, speculation="ngram"))
    for max_tokens in (1, 2, 3, 10, 11, 30):
        first = [request("a", prompt(6, 1), max_tokens=max_tokens)]
        found = []
        for engine in (plain, core):
            tokens = prompt(6, 1) + run(engine, first)["a", 0].tokens
            knowing.append(tokens)
            engine.forget_history()
            run(engine, [request("b", [*tokens, 1], max_tokens=4)])
            found.append(engine.scheduler.seats.counts.prefix_hits)
        assert found[0] == found[1]
    plain.store.close()
    core.store.close()


@pytest.mark.parametrize("overlap", [False, True], ids=["in turn", "overlapped"])
def test_an_abort_while_a_draft_is_checked_returns_everything(
    base: Path, knowing: list[list[int]], overlap: bool
) -> None:
    plain = make_engine(base)
    expected = run(plain, [request("a", prompt(9, 1), max_tokens=30)])["a", 0].tokens
    plain.store.close()
    knowing.append(prompt(9, 1) + expected)
    core = drafting(make_engine(base, overlap=overlap, speculation="ngram"))
    for steps in range(1, 7):
        core.submit(request("a", prompt(9, 1), max_tokens=30))
        for _ in range(steps):
            core.step()
        (event,) = core.abort("a", None)
        assert isinstance(event, Delta)
        assert event.finish_reason == "abort"
        while core.has_work:
            assert not step(core)
        core.check_integrity()
    assert run(core, [request("a", prompt(9, 1), max_tokens=30)])["a", 0].tokens == expected
    core.store.close()
