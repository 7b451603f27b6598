"""Every kind of adapter in one batch with the base and plain LoRA, against PEFT's own answer on the same files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.ia3 import IA3Layer
from peft.tuners.lora import LoraLayer
from peft.utils.other import ModulesToSaveWrapper
from support.checkpoints import VOCAB
from support.engines import make_engine, run, step
from support.knowing_drafts import drafting, propose_known
from support.oracle import Answer, greedy
from support.term_world import (
    ADDED,
    FAMILIES,
    INVOCATION,
    PEFT_MAY_WARN,
    TOKENS,
    World,
    make_world,
    matches,
    one_family,
    prompt,
)

from loraplex_server.bench.limits.threads import computing_with
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.messages import GenerateRequest

pytestmark = PEFT_MAY_WARN
VIRTUAL = 5
Engine = Callable[..., EngineCore]


@pytest.fixture(scope="module", params=FAMILIES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with computing_with(1):
        yield make_world(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def engine(world: World) -> Iterator[Engine]:
    """Engines on the world's base, whose loader threads end with the test."""
    cores: list[EngineCore] = []

    def make(**options: Any) -> EngineCore:
        cores.append(world.engine(**options))
        return cores[-1]

    yield make
    for core in cores:
        core.store.close()


def everything(world: World) -> list[GenerateRequest]:
    return [world.request(name) for name in world.answers]


def test_one_batch_of_all_kinds_gives_what_peft_gives_each_alone(world: World, engine: Engine) -> None:
    """In chunks, so that prompts and answers share steps."""
    core = engine(max_num_batched_tokens=24, max_num_seqs=24)
    outputs = run(core, everything(world))
    for kind, answer in world.answers.items():
        matches(outputs[kind, 0], answer, kind)


def test_each_kind_differs_from_the_base(world: World) -> None:
    """Otherwise all of the other tests would prove nothing."""
    for kind, answer in world.answers.items():
        same = greedy(world.oracles["base"], [min(token, VOCAB - 1) for token in prompt(kind)], 1)
        assert (abs(same.logprobs[0] - answer.logprobs[0]) > 1e-3) == (kind not in ("base", "not-invoked")), kind


def block_bytes(base: Path) -> int:
    core = make_engine(base)
    core.store.close()
    return sum(layer.k[0].nbytes + layer.v[0].nbytes for layer in core.runner.cache)


@one_family
def test_preempted_sequences_are_computed_again_as_before(world: World, engine: Engine) -> None:
    core = engine(max_num_seqs=24, max_model_len=24, kv_cache_memory=14 * block_bytes(world.base))
    for _ in range(2):  # the second time all adapters are in memory, so that all of them want blocks at once
        outputs = run(core, everything(world))
        for kind, answer in world.answers.items():
            matches(outputs[kind, 0], answer, kind)
    assert core.scheduler.seats.counts.preemptions > 0


@one_family
def test_drafts_are_checked_with_each_kind_as_their_answers_are_computed(
    world: World, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = everything(world)
    propose_known(monkeypatch, [each.prompt_token_ids + world.answers[each.request_id].tokens for each in asked], VOCAB)
    for overlap in (False, True):
        core = drafting(engine(max_num_batched_tokens=64, max_num_seqs=24, speculation="ngram", overlap=overlap))
        outputs = run(core, asked)
        for kind, answer in world.answers.items():
            matches(outputs[kind, 0], answer, kind)
        assert core.stats().drafts.accepted_total > len(asked)


@one_family
def test_a_second_answer_from_the_prefix_cache_is_the_same(world: World, engine: Engine) -> None:
    core = engine()
    for again in (False, True):
        outputs = run(core, everything(world))
        for kind, answer in world.answers.items():
            matches(outputs[kind, 0], answer, kind)
            if again:  # 16 positions with the virtual tokens, of which 8 lie in a block that the last token ends
                virtual = VIRTUAL if kind in ("prompt", "prefix") else 0
                assert outputs[kind, 0].started.cached_tokens == 8 - virtual, kind


@one_family
def test_rows_of_the_base_and_of_plain_lora_do_not_notice_the_others(world: World, engine: Engine) -> None:
    """Not in the last bit: the others' terms touch the others' rows."""
    core = engine(max_num_seqs=32, enable_prefix_caching=False)
    together = run(core, everything(world))
    for kind in ("base", "plain", "not-invoked", "activated"):
        alone = run(core, [world.request(kind)])
        assert alone[kind, 0].logprobs == together[kind, 0].logprobs, kind


@one_family
def test_the_blocks_before_an_activated_adapter_begins_are_those_of_the_base(world: World, engine: Engine) -> None:
    """Blocks of 8 tokens; the invocation begins in the third, so that the first two are shared with everybody."""
    core = engine()
    tokens = prompt("base", 19) + INVOCATION + prompt("plain", 10)
    peft = greedy(world.oracles["activated"], tokens, TOKENS)
    base = greedy(world.oracles["base"], tokens, TOKENS)
    for name, adapters, cached, answer in [
        ("first", [("activated", 1.0)], 0, peft),
        ("base", [], 16, base),
        ("again", [("activated", 1.0)], 24, peft),
        ("base again", [], 24, base),
    ]:
        output = run(core, [world.request(name, adapters, tokens=tokens)])[name, 0]
        assert output.started.cached_tokens == cached, name
        matches(output, answer, name)


@one_family
def test_an_invocation_in_a_chunk_of_its_own_splits_where_it_begins(world: World, engine: Engine) -> None:
    tokens = prompt("base", 19) + INVOCATION + prompt("plain", 10)
    for budget in (4, 7, 20, 21):
        core = engine(max_num_batched_tokens=budget, max_num_seqs=4)
        output = run(core, [world.request("activated", tokens=tokens)])["activated", 0]
        matches(output, greedy(world.oracles["activated"], tokens, TOKENS), f"chunks of {budget}")


@one_family
@pytest.mark.parametrize("kind", ["prompt", "prefix", "activated", "larger", "head", "tokens"])
def test_prompt_logprobs_are_those_of_the_whole_forward(world: World, engine: Engine, kind: str) -> None:
    tokens = prompt(kind, 21)
    with torch.inference_mode():
        rows = world.oracles[kind](torch.tensor([tokens])).logits[0].log_softmax(-1)[-len(tokens) :]
    expected = [float(rows[place, token]) for place, token in enumerate(tokens[1:])]
    core = engine(max_num_batched_tokens=8, max_num_seqs=8)
    output = run(core, [world.request(kind, tokens=tokens, max_tokens=1, prompt_logprobs=2)])[kind, 0]
    first, *others = output.started.prompt_logprobs
    assert first is None
    assert [each.token_id for each in others] == tokens[1:]
    assert [each.logprob for each in others] == pytest.approx(expected, abs=1e-4)


@one_family
@pytest.mark.parametrize("kind", ["prompt", "prefix", "activated", "larger"])
def test_several_answers_share_one_prompt(world: World, engine: Engine, kind: str) -> None:
    core = engine(enable_prefix_caching=True)
    tokens = prompt(kind, 15)
    outputs = run(core, [world.request(kind, tokens=tokens, n=3, temperature=1.0, seed=4)])
    virtual = VIRTUAL if kind in ("prompt", "prefix") else 0
    shared = (len(tokens) + virtual - 1) // 8 * 8 - virtual
    assert [outputs[kind, index].started.cached_tokens for index in range(3)] == [0, shared, shared]
    assert len({tuple(outputs[kind, index].tokens) for index in range(3)}) > 1
    matches(run(core, [world.request(kind, tokens=tokens)])[kind, 0], greedy(world.oracles[kind], tokens, TOKENS), kind)


@one_family
def test_a_larger_vocabulary_is_nobody_elses(world: World, engine: Engine) -> None:
    """Rows on the base neither choose nor report its tokens; its own row can."""
    core = engine(max_num_seqs=32, enable_prefix_caching=False)
    options = {"temperature": 1.5, "seed": 3, "top_p": 0.9, "logprobs": VOCAB + ADDED, "max_tokens": 12}
    hot = {"repetition_penalty": 1.3, "presence_penalty": 0.2, "logit_bias": {VOCAB + 2: 100.0}}
    asked = [
        world.request("base", **options),
        world.request("plain", **options),
        world.request("larger", **(options | hot)),
    ]
    events = [event for each in asked for event in core.submit(each)]
    while core.has_work:
        events += step(core)
    for event in events:
        own = VOCAB + ADDED if event.request_id == "larger" else VOCAB
        for logprob in event.logprobs:
            assert len(logprob.top) == own
            assert max(token for token, _ in logprob.top) == own - 1
            assert all(value > -1e9 for _, value in logprob.top)
    together = {each.request_id: [e.token_ids[0] for e in events if e.request_id == each.request_id] for each in asked}
    assert together["larger"] == [VOCAB + 2] * 12
    for name in ("base", "plain"):
        assert run(core, [world.request(name, **options)])[name, 0].tokens == together[name]


def interpolated(world: World, kind: str, weight: float) -> torch.nn.Module:
    """PEFT's model with everything that the adapter changes moved only by `weight` of the way."""
    peft = deepcopy(world.oracles[kind])
    for module in peft.modules():
        if isinstance(module, ModulesToSaveWrapper):
            own, before = module.modules_to_save["default"].weight, module.original_module.weight
            own.data = before + weight * (own - before)
        elif isinstance(module, IA3Layer):
            module.ia3_l["default"].data = 1 + weight * (module.ia3_l["default"].data - 1)
        elif isinstance(module, LoraLayer):
            module.scaling["default"] *= weight
    return peft


@pytest.mark.parametrize("kind", ["ia3", "norms", "head", "linear", "saved-embedding", "embedding", "lora-bias"])
def test_a_weight_moves_each_term_by_its_part_of_the_difference(world: World, engine: Engine, kind: str) -> None:
    core = engine()
    expected = greedy(interpolated(world, kind, 0.5), prompt(kind), TOKENS)
    matches(run(core, [world.request(kind, [(kind, 0.5)])])[kind, 0], expected, kind)


@one_family
def test_a_mixture_adds_up(world: World, engine: Engine) -> None:
    """Low rank of two adapters, and a third's own head and norms, all on the same rows."""
    mixture = [("plain", -0.7), ("linear", 0.4), ("norms", 0.5), ("head", 1.0), ("prompt", 1.0)]
    core = engine()
    output = run(core, [world.request("mix", mixture)])["mix", 0]
    matches(output, greedy(merged(world, mixture), prompt("mix"), TOKENS), "mix")
    matches(run(core, [world.request("mix", mixture[::-1])])["mix", 0], Answer(output.tokens, output.logprobs), "mix")


def merged(world: World, mixture: list[tuple[str, float]]) -> torch.nn.Module:
    """A base whose weights are moved by each adapter's part, under the prompt of the last."""
    peft = deepcopy(world.oracles["prompt"])
    weights = dict(peft.base_model.named_parameters())
    before = dict(world.oracles["base"].named_parameters())
    for kind, weight in mixture:
        if kind != "prompt":
            after = dict(deepcopy(world.oracles[kind]).merge_and_unload().named_parameters())
            for name, value in before.items():
                weights[name].data += weight * (after[name].data - value)
    return peft


@one_family
@pytest.mark.parametrize(
    ("adapters", "options", "words"),
    [
        ([("prompt", 1.0), ("prefix", 1.0)], {}, "'prompt' and 'prefix' each put virtual tokens before the prompt"),
        ([("prefix", 0.5)], {}, "its weight can only be 1, not 0.5"),
        ([("larger", 2.0)], {}, "has a vocabulary of 325 tokens, not the base's 320: its weight can only be 1, not 2"),
        ([("prompt", 1.0), ("prompt", 1.0)], {}, "its weight can only be 1, not 2"),
        ([("larger", 1.0), ("smaller", 1.0)], {}, "each have a vocabulary of their own"),
        ([("plain", 1.0)], {"tokens": [VOCAB]}, "outside of the vocabulary of 320"),
        ([("larger", 1.0)], {"tokens": [VOCAB + ADDED]}, "outside of the vocabulary of 325"),
        ([("plain", 1.0)], {"logit_bias": {VOCAB: 1.0}}, "stop_token_ids, logit_bias"),
        ([("prompt", 1.0)], {"tokens": [5] * 123}, "has 123 tokens, and its adapter puts 5 virtual tokens before it"),
    ],
)
def test_what_these_adapters_cannot_do_is_refused(
    world: World, engine: Engine, adapters: list, options: dict, words: str
) -> None:
    core = engine()
    outputs = run(core, [world.request("bad", adapters, **options), world.request("plain")])
    failure = outputs["bad", 0].failure
    assert failure.kind == "invalid"
    assert words in failure.message
    matches(outputs["plain", 0], world.answers["plain"], "plain")


@one_family
def test_the_longest_prompt_that_fits_beside_virtual_tokens_is_served(world: World, engine: Engine) -> None:
    core = engine()
    output = run(core, [world.request("prompt", tokens=[5] * 122, max_tokens=9)])["prompt", 0]
    assert (len(output.tokens), output.finish_reason) == (1, "length")


@one_family
def test_an_adapter_that_is_named_twice_acts_with_both_weights(world: World, engine: Engine) -> None:
    core = engine()
    output = run(core, [world.request("norms", [("norms", 0.3), ("norms", 0.7)])])["norms", 0]
    matches(output, world.answers["norms"], "norms")
