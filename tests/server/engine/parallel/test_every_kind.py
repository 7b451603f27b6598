"""A model that is divided among processes gives what PEFT gives: each family, every kind of adapter, one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.checkpoints import VOCAB
from support.engines import Output, run
from support.knowing_drafts import drafting, propose_known
from support.term_world import FAMILIES, PEFT_MAY_WARN, World, make_world, matches, one_family

from loraplex_server.bench.limits.threads import computing_with
from loraplex_server.engine.core import EngineCore

pytestmark = [pytest.mark.slow, *PEFT_MAY_WARN]
Engine = Callable[..., EngineCore]


@pytest.fixture(scope="module", params=FAMILIES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with computing_with(1):
        yield make_world(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def engine(world: World) -> Iterator[Engine]:
    """Engines on the world's base, whose other ranks end with the test."""
    cores: list[EngineCore] = []

    def make(ranks: int = 2, **options: Any) -> EngineCore:
        cores.append(world.engine(tensor_parallel_size=ranks, threads=1, max_num_seqs=24, **options))
        return cores[-1]

    yield make
    for core in cores:
        core.close()


def test_one_batch_of_all_kinds_gives_what_peft_gives_each_alone(world: World, engine: Engine) -> None:
    """Twice: then from the prefix cache and from tapes. In chunks, so that prompts and answers share steps."""
    core = engine(max_num_batched_tokens=24)
    for _ in range(2):
        outputs = run(core, [world.request(name) for name in world.answers])
        for kind, answer in world.answers.items():
            matches(outputs[kind, 0], answer, kind)


@one_family
def test_drafts_are_checked_by_all_ranks(world: World, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [world.request(name) for name in world.answers]
    propose_known(monkeypatch, [each.prompt_token_ids + world.answers[each.request_id].tokens for each in asked], VOCAB)
    core = drafting(engine(max_num_batched_tokens=64, speculation="ngram", overlap=True))
    outputs = run(core, asked)
    for kind, answer in world.answers.items():
        matches(outputs[kind, 0], answer, kind)
    assert core.stats().drafts.accepted_total > len(asked)


@one_family
def test_rounded_adapters_are_rounded_before_they_are_divided(world: World, engine: Engine) -> None:
    def answers(ranks: int) -> dict[str, Output]:
        core = engine(ranks, adapter_dtype="int8")
        outputs = run(core, [world.request(name) for name in ("plain", "trained-biases", "activated")])
        return {name: outputs[name, 0] for name, _ in outputs}

    alone, divided = answers(1), answers(2)
    for name, output in alone.items():
        assert divided[name].tokens == output.tokens
        assert divided[name].logprobs == pytest.approx(output.logprobs, abs=1e-5)
