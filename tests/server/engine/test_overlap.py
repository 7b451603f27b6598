"""Choosing a step while the one before it runs changes when things are told, and nothing of what is told."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.checkpoints import prompt
from support.engines import any_options, make_engine, request, run, step

from loraplex_server.engine.core import EngineCore, Event
from loraplex_server.engine.messages import Delta, Failed, GenerateRequest, Share

NAMES = [None, "plain-r4", "dora", "plain-r32"]
BLOCK = 2 * 3 * 2 * 8 * 16 * 4  # bytes: keys and values, layers, heads, tokens, head_dim, float32
Told = dict[str, list[tuple[Any, ...]]]


def any_request(name: str, draw: random.Random, root: Path) -> GenerateRequest:
    """Of everything that a request may ask for, and that decides when it ends."""
    adapter = draw.choice(NAMES)
    weight = 1e38 if adapter == "plain-r32" and draw.random() < 0.3 else 1.0  # not finite
    options = {
        **any_options(draw),
        "top_p": draw.choice([1.0, 0.7]),
        "n": draw.choice([1, 1, 3]),
    }
    if options["max_tokens"] == 0 or draw.random() < 0.2:
        options["prompt_logprobs"] = 1
    tokens = prompt(draw.choice([1, 7, 8, 40]), draw.randrange(3))  # few of them: some share prefixes
    share = Share(draw.choice(["", "a", "b"]), priority=draw.choice([0, 0, 0, 1]))
    asked = request(name, tokens, [] if adapter is None else [(adapter, weight)], root=root, **options)
    return msgspec.structs.replace(asked, share=share)


def tell(told: Told, events: list[Event]) -> None:
    """Keep of each event what does not depend on time, under its request and answer."""
    for event in events:
        if isinstance(event, Failed):
            told[event.request_id].append(("failed", event.kind, event.message))
        elif isinstance(event, Delta):
            logprobs = [(each.token_id, round(each.logprob, 3), each.rank) for each in event.logprobs or []]
            prompt_logprobs = event.started and event.started.prompt_logprobs
            scored = None if prompt_logprobs is None else [each and round(each.logprob, 3) for each in prompt_logprobs]
            answer = f"{event.request_id}/{event.index}"
            told[answer].append((event.token_ids, logprobs, event.finish_reason, event.started is not None, scored))


def answers(core: EngineCore, requests: list[GenerateRequest]) -> Told:
    """Submit a few requests every step, so that they meet in all their states."""
    told: Told = defaultdict(list)
    coming = list(requests)
    while coming or core.has_work:
        for each in coming[:2]:
            tell(told, core.submit(each))
        del coming[:2]
        tell(told, step(core))
        core.scheduler.check_integrity()
    core.check_integrity()
    return told


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kv_cache_memory": 10 * BLOCK, "max_model_len": 80, "max_num_seqs": 5, "max_num_batched_tokens": 24},
        {"max_num_seqs": 3},
    ],
    ids=["roomy", "crowded", "few seats"],
)
def test_every_answer_is_told_the_same_token_by_token(
    base: Path, adapters: Path, options: dict[str, Any], seed: int
) -> None:
    draw = random.Random(seed)
    asked = [any_request(f"r{number}", draw, adapters) for number in range(14)]
    told = []
    for overlap in (False, True):
        core = make_engine(base, overlap=overlap, **options)
        # How long an adapter's loading takes decides who meets whom: they are there beforehand.
        run(core, [request(name, prompt(3, 0), [(name, 1.0)], root=adapters, max_tokens=1) for name in NAMES if name])
        told.append(answers(core, asked))
        counts = core.scheduler.seats.counts
        assert bool(counts.preemptions) == ("kv_cache_memory" in options)
        assert bool(counts.pauses) >= (options == {"max_num_seqs": 3})
        core.store.close()
    assert told[1] == told[0]


def test_a_step_is_launched_before_the_one_before_it_is_told(base: Path) -> None:
    core = make_engine(base, overlap=True)
    core.submit(request("a", prompt(5, 1), max_tokens=3))
    told = [len(core.step()) for _ in range(4)]
    assert told == [0, 1, 1, 1]
    assert not core.has_work
    core.store.close()


def test_nothing_is_launched_for_a_sequence_whose_last_token_is_on_its_way(base: Path) -> None:
    """Not for one that ends by its length: a position past the longest has no place anywhere."""
    core = make_engine(base, overlap=True)
    core.submit(request("a", prompt(5, 1), max_tokens=4))
    while core.has_work:
        core.step()
    assert core.stats().steps.tokens == [5, 1, 1, 1]
    core.store.close()


def test_the_step_behind_a_stop_token_is_dropped_and_leaves_nothing(base: Path) -> None:
    turn, ahead = make_engine(base, overlap=False), make_engine(base, overlap=True)
    (free,) = answers(turn, [request("a", prompt(5, 1), max_tokens=6)]).values()
    stop = free[2][0][0]
    asked = request("b", prompt(5, 1), max_tokens=6, stop_token_ids=(stop,))
    for core in (turn, ahead):
        core.forget_history()
        (told,) = answers(core, [asked]).values()
        assert told[-1][0] == [stop]
        assert told[-1][2] == "stop"
    assert len(ahead.stats().steps.tokens) == len(turn.stats().steps.tokens) + 1
    turn.store.close()
    ahead.store.close()


@pytest.mark.parametrize("steps", range(1, 6))
def test_an_abort_while_a_step_is_on_its_way_returns_everything_at_once(base: Path, adapters: Path, steps: int) -> None:
    core = make_engine(base, overlap=True)
    core.submit(request("other", prompt(9, 2), max_tokens=30))
    core.submit(request("a", prompt(9, 1), ["dora"], root=adapters, n=2, max_tokens=30))
    while not core.requests["a"].bound:
        core.step()
    for _ in range(steps):
        core.step()
    assert [event.finish_reason for event in core.abort("a", None)] == ["abort", "abort"]
    held = core.store.stats()
    assert not held.waiting
    assert all(event.request_id == "other" for event in core.step())
    again = answers(core, [request("a", prompt(9, 1), ["dora"], root=adapters, max_tokens=4)])  # the same id at once
    alone = make_engine(base, overlap=False)
    expected = answers(alone, [request("a", prompt(9, 1), ["dora"], root=adapters, max_tokens=4)])
    assert [each[0] for each in again["a/0"]] == [each[0] for each in expected["a/0"]]
    core.store.close()
    alone.store.close()


def test_a_later_request_finds_as_much_of_its_prefix(base: Path) -> None:
    """An answer's last full block has its name, though its last token came late."""
    for max_tokens in (1, 2, 3, 10, 11):  # 8 tokens of prompt and answer are a block, and 16 are two
        found = []
        for overlap in (False, True):
            core = make_engine(base, overlap=overlap)
            first = answers(core, [request("a", prompt(6, 1), max_tokens=max_tokens)])
            tokens = prompt(6, 1) + [token for each in first["a/0"] for token in each[0]]
            core.forget_history()
            answers(core, [request("b", [*tokens, 1], max_tokens=1)])
            found.append(core.scheduler.seats.counts.prefix_hits)
            core.store.close()
        assert found[0] == found[1]
