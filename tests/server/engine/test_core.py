"""The engine against PEFT and transformers on the same files: same tokens, same log probabilities, any batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from support import engines
from support.checkpoints import VARIANTS, VOCAB, load_adapter, load_base, prompt
from support.engines import Output, collect, request, run, step
from support.oracle import Answer, greedy

from loraplex_server.engine.core import EngineCore

TOLERANCE = 1e-4
MakeEngine = Callable[..., EngineCore]


@pytest.fixture(params=[False, True], ids=["in turn", "overlapped"])
def make_engine(request: pytest.FixtureRequest) -> MakeEngine:
    return partial(engines.make_engine, overlap=request.param)


@pytest.fixture(scope="module")
def answers(base: Path, adapters: Path) -> dict[str, Answer]:
    """The oracle's answer of each adapter, and of the base, to a prompt of its own."""
    models = {name: load_adapter(base, adapters / name) for name in VARIANTS} | {"base": load_base(base)}
    return {name: greedy(model, prompt(11, hash_of(name)), 8) for name, model in models.items()}


def hash_of(name: str) -> int:
    return sum(name.encode())


def matches(output: Output, answer: Answer) -> None:
    assert output.failure is None
    assert output.tokens == answer.tokens
    assert output.logprobs == pytest.approx(answer.logprobs, abs=TOLERANCE)


def mixed(adapters: Path) -> list:
    return [
        request(name, prompt(11, hash_of(name)), [name] if name != "base" else [], root=adapters)
        for name in [*VARIANTS, "base"]
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_num_batched_tokens": 16, "max_num_seqs": 16},  # prompts in chunks
        {"max_num_seqs": 3},  # some wait
        {"kv_cache_memory": 3 * 2 * 3 * 2 * 8 * 16 * 4 * 3, "max_model_len": 24},  # blocks run out: preemption
        {"enable_prefix_caching": False},
    ],
    ids=["at once", "chunked", "queued", "preempted", "uncached"],
)
def test_one_batch_of_all_adapters_gives_what_peft_gives_each_alone(
    make_engine: MakeEngine, base: Path, adapters: Path, answers: dict[str, Answer], options: dict
) -> None:
    core = make_engine(base, **options)
    outputs = run(core, mixed(adapters))
    for name in [*VARIANTS, "base"]:
        matches(outputs[name, 0], answers[name])
    if "max_model_len" in options:
        run(core, mixed(adapters))  # now that all adapters are in memory, all of them want blocks at once
        assert core.scheduler.seats.counts.preemptions > 0
    core.store.close()


def test_a_second_answer_from_the_prefix_cache_is_the_same(
    make_engine: MakeEngine, base: Path, adapters: Path, answers: dict[str, Answer]
) -> None:
    core = make_engine(base)
    for cached in (0, 8):
        outputs = run(core, mixed(adapters))
        for name in [*VARIANTS, "base"]:
            matches(outputs[name, 0], answers[name])
            assert outputs[name, 0].started.cached_tokens == cached
    core.store.close()


def test_a_mixture_is_the_weighted_sum_of_its_adapters(make_engine: MakeEngine, base: Path, adapters: Path) -> None:
    weights = {"plain-r4": 0.7, "plain-r32": -0.4, "patterns": 1.0}
    merged = load_base(base)
    deltas = dict(merged.named_parameters())
    for name, weight in weights.items():
        model = load_adapter(base, adapters / name)
        before = {key: value.clone() for key, value in load_base(base).named_parameters()}
        after = dict(model.merge_and_unload().named_parameters())
        for key, value in before.items():
            deltas[key].data += weight * (after[key].data - value)
    expected = greedy(merged, prompt(9, 5), 8)
    core = make_engine(base)
    matches(run(core, [request("mix", prompt(9, 5), list(weights.items()), root=adapters)])["mix", 0], expected)
    core.store.close()


def test_prompt_logprobs_are_those_of_the_whole_forward(make_engine: MakeEngine, base: Path, adapters: Path) -> None:
    tokens = prompt(21, 3)
    with torch.inference_mode():
        rows = load_adapter(base, adapters / "dora")(torch.tensor([tokens])).logits[0].log_softmax(-1)
    expected = [float(rows[place, token]) for place, token in enumerate(tokens[1:])]
    core = make_engine(base, max_num_batched_tokens=8, max_num_seqs=8)
    asked = request("echo", tokens, ["dora"], root=adapters, max_tokens=0, prompt_logprobs=2)
    output = run(core, [asked])["echo", 0]
    assert output.tokens == []
    assert output.finish_reason == "length"
    first, *others = output.started.prompt_logprobs
    assert first is None
    assert [each.logprob for each in others] == pytest.approx(expected, abs=TOLERANCE)
    assert [len(each.top) for each in others] == [2] * 20
    core.store.close()


def test_prompt_logprobs_survive_a_preemption_in_the_middle_of_the_prompt(make_engine: MakeEngine, base: Path) -> None:
    tokens = prompt(60, 8)
    whole = make_engine(base)
    (expected,) = run(whole, [request("echo", tokens, max_tokens=1, prompt_logprobs=0)]).values()
    whole.store.close()
    block = 2 * 3 * 2 * 8 * 16 * 4  # bytes of a block: keys and values, layers, heads, tokens, head_dim, float32
    preempted = 0
    for blocks in range(11, 16):
        core = make_engine(base, max_num_batched_tokens=12, kv_cache_memory=blocks * block, max_num_seqs=4)
        asked = [request(f"busy {i}", prompt(20, i), max_tokens=24) for i in range(2)]
        outputs = run(core, [*asked, request("echo", tokens, max_tokens=1, prompt_logprobs=0)])
        preempted += core.scheduler.seats.counts.preemptions
        got = [each and each.logprob for each in outputs["echo", 0].started.prompt_logprobs]
        assert got[1:] == pytest.approx([each.logprob for each in expected.started.prompt_logprobs[1:]], abs=TOLERANCE)
        core.store.close()
    assert preempted > 0


def test_prompt_logprobs_go_out_once(make_engine: MakeEngine, base: Path) -> None:
    core = make_engine(base)
    outputs = run(core, [request("n", prompt(9, 1), n=3, max_tokens=1, prompt_logprobs=0)])
    assert [outputs["n", index].started.prompt_logprobs is None for index in range(3)] == [False, True, True]
    core.store.close()


def test_output_that_is_not_finite_fails_its_request_alone(
    make_engine: MakeEngine, base: Path, adapters: Path, answers: dict[str, Answer]
) -> None:
    core = make_engine(base)
    outputs = run(
        core,
        [
            request("hot", prompt(9, 1), [("plain-r32", 1e38)], root=adapters, n=2),
            request("dora", prompt(11, hash_of("dora")), ["dora"], root=adapters),
        ],
    )
    assert outputs["hot", 0].failure.kind == "adapter"
    assert "not finite" in outputs["hot", 0].failure.message
    matches(outputs["dora", 0], answers["dora"])
    core.store.close()


def test_n_answers_share_one_prompt_and_differ_by_seed(make_engine: MakeEngine, base: Path, adapters: Path) -> None:
    core = make_engine(base)
    asked = request("n", prompt(17, 2), ["rslora"], root=adapters, n=3, temperature=1.0, seed=4)
    outputs = run(core, [asked])
    assert len({tuple(outputs["n", index].tokens) for index in range(3)}) == 3
    assert [outputs["n", index].started.cached_tokens for index in range(3)] == [0, 16, 16]
    again = run(core, [asked])
    assert all(again["n", index].tokens == outputs["n", index].tokens for index in range(3))
    core.store.close()


def test_an_adapter_that_is_refused_fails_its_own_request_alone(
    make_engine: MakeEngine, base: Path, adapters: Path, answers: dict[str, Answer], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in (adapters / "plain-r4").iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "adapter_model.safetensors").write_bytes(b"not safetensors at all")
    core = make_engine(base)
    outputs = run(
        core,
        [
            request("bad", prompt(5, 1), ["broken"], root=tmp_path),
            request("good", prompt(11, hash_of("dora")), ["dora"], root=adapters),
        ],
    )
    assert outputs["bad", 0].failure.kind == "adapter"
    assert "broken" in outputs["bad", 0].failure.message
    matches(outputs["good", 0], answers["dora"])
    core.store.close()


@pytest.mark.parametrize("field", [{"stop_token_ids": (VOCAB,)}, {"logit_bias": {-1: 1.0}}])
def test_token_ids_of_the_options_must_be_in_the_vocabulary(make_engine: MakeEngine, base: Path, field: dict) -> None:
    core = make_engine(base)
    (failure,) = core.submit(request("bad", [1, 2], **field))
    assert "vocabulary" in failure.message
    core.store.close()


def test_an_abort_ends_its_answers_and_returns_what_they_held(
    make_engine: MakeEngine, base: Path, adapters: Path
) -> None:
    core = make_engine(base)
    outputs: dict = defaultdict(Output)
    asked = request("a", prompt(9, 1), ["dora"], root=adapters, n=2, max_tokens=100)
    collect(core.submit(asked), outputs)
    while not outputs["a", 0].tokens:
        collect(step(core), outputs)
    collect(core.abort("a", 0), outputs)
    assert outputs["a", 0].finish_reason == "abort"
    collect(core.step(), outputs)
    assert outputs["a", 1].finish_reason is None
    collect(core.abort("a", None), outputs)
    assert outputs["a", 1].finish_reason == "abort"
    core.check_integrity()  # also while a step for what has ended is on its way
    while core.has_work:
        assert core.step() == []
    core.check_integrity()
    assert core.abort("a", None) == []
    core.store.close()


@pytest.mark.parametrize(
    ("tokens", "word"), [([], "empty"), ([VOCAB], "vocabulary"), ([-1], "vocabulary"), ([1] * 256, "256 tokens")]
)
def test_a_request_that_cannot_be_served_is_refused_at_once(
    make_engine: MakeEngine, base: Path, tokens: list[int], word: str
) -> None:
    core: EngineCore = make_engine(base)
    (failure,) = core.submit(request("bad", tokens))
    assert failure.kind == "invalid"
    assert word in failure.message
    assert not core.has_work
    core.store.close()
