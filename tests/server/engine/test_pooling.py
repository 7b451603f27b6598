"""Embeddings: the hidden states that transformers and PEFT give, whatever the batch, the chunks and the cache."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest
import torch
from support import engines
from support.checkpoints import VOCAB, load_adapter, load_base, write_adapters
from support.engines import request, run, step

from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.messages import Delta, Failed, GenerateRequest, Pooling

TOLERANCE = 1e-4
KINDS: tuple[Pooling, ...] = ("last", "mean")
VARIANTS = {
    "plain": {"r": 4, "target_modules": "all-linear"},
    "dora": {"r": 6, "use_dora": True, "target_modules": "all-linear"},
}
MakeEngine = Callable[..., EngineCore]


@pytest.fixture(params=[False, True], ids=["in turn", "overlapped"])
def make_engine(request: pytest.FixtureRequest) -> MakeEngine:
    return partial(engines.make_engine, overlap=request.param)


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapters(base, tmp_path_factory.mktemp("adapters"), VARIANTS)


def prompt(length: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(VOCAB), k=length)


def embed(id: str, tokens: list[int], kind: Pooling, adapters: tuple = (), root: Path | None = None) -> GenerateRequest:
    plain = request(id, tokens, adapters, root=root, max_tokens=0, logprobs=None)
    return msgspec.structs.replace(plain, pooling=kind)


@torch.inference_mode()
def oracle(model: torch.nn.Module, tokens: list[int], kind: Pooling) -> list[float]:
    hidden = model(torch.tensor([tokens]), output_hidden_states=True).hidden_states[-1][0]
    return (hidden[-1] if kind == "last" else hidden.mean(0)).tolist()


def vectors(core: EngineCore, requests: list[GenerateRequest]) -> dict[str, array]:
    """By request; each has one event, which is its end."""
    found: dict[str, array] = {}
    events = [event for each in requests for event in core.submit(each)]
    while core.has_work:
        events += step(core)
    core.check_integrity()
    for event in events:
        assert isinstance(event, Delta), event
        if event.embedding is not None:
            assert (event.token_ids, event.finish_reason, event.request_id in found) == ([], "length", False)
            found[event.request_id] = array("f", event.embedding)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_num_batched_tokens": 8, "max_num_seqs": 8},  # prompts in chunks
        {"kv_cache_memory": 3 * 2 * 3 * 2 * 8 * 16 * 4 * 3, "max_model_len": 48},  # blocks run out
        {"enable_prefix_caching": False},
        {"speculation": "ngram"},
    ],
    ids=["at once", "chunked", "preempted", "uncached", "with drafts"],
)
def test_a_batch_gives_what_transformers_and_peft_give_each_alone(
    make_engine: MakeEngine, base: Path, adapters: Path, options: dict
) -> None:
    core = make_engine(base, **options)
    models = {"base": load_base(base)} | {name: load_adapter(base, adapters / name) for name in VARIANTS}
    cases = {
        f"{name}-{kind}-{length}": (name, kind, prompt(length, seed=length))
        for name in models
        for kind in KINDS
        for length in (1, 21, 40)
    }
    asked = [
        embed(id, tokens, kind, () if name == "base" else (name,), adapters)
        for id, (name, kind, tokens) in cases.items()
    ]
    answer = request("answer", prompt(9), ["plain"], root=adapters)  # tokens are chosen in the same steps
    found = vectors(core, [*asked, answer])
    assert found.keys() == cases.keys()
    for id, (name, kind, tokens) in cases.items():
        assert found[id].tolist() == pytest.approx(oracle(models[name], tokens, kind), abs=TOLERANCE), id


def test_answers_beside_embeddings_are_what_they_are_alone(make_engine: MakeEngine, base: Path) -> None:
    core = make_engine(base)
    alone = run(core, [request("a", prompt(9))])["a", 0]
    beside = run(core, [embed("e", prompt(30, 1), "mean"), request("b", prompt(9)), embed("f", prompt(9), "last")])
    assert beside["b", 0].tokens == alone.tokens


def test_the_last_token_may_follow_a_cached_prefix_and_a_mean_may_not(make_engine: MakeEngine, base: Path) -> None:
    core = make_engine(base)
    tokens = prompt(33)
    model = load_base(base)
    for round in range(2):
        for kind in KINDS:
            outputs = {}
            events = core.submit(embed(f"{kind}{round}", tokens, kind))
            while core.has_work:
                events += step(core)
            (delta,) = (event for event in events if isinstance(event, Delta))
            outputs[kind] = array("f", delta.embedding or b"").tolist()
            assert outputs[kind] == pytest.approx(oracle(model, tokens, kind), abs=TOLERANCE)
            assert delta.started is not None
            expected = 32 if kind == "last" and round else 0
            assert delta.started.cached_tokens == expected
    # What an embedding computed, an answer finds.
    output = run(core, [request("after", [*tokens, 5])])["after", 0]
    assert output.started is not None
    assert output.started.cached_tokens == 32


def test_one_that_is_aborted_leaves_nothing_behind(make_engine: MakeEngine, base: Path) -> None:
    core = make_engine(base, max_num_batched_tokens=8, max_num_seqs=8)
    core.submit(embed("e", prompt(40), "mean"))
    step(core)
    (end,) = core.abort("e", None)
    assert isinstance(end, Delta)
    assert (end.finish_reason, end.embedding) == ("abort", None)
    while core.has_work:
        step(core)
    core.check_integrity()


def test_an_embedding_has_one_answer_of_no_tokens(make_engine: MakeEngine, base: Path) -> None:
    core = make_engine(base)
    asked = embed("e", prompt(4), "last")
    for wrong in (
        msgspec.structs.replace(asked, n=2),
        msgspec.structs.replace(asked, sampling=msgspec.structs.replace(asked.sampling, max_tokens=1)),
    ):
        (refused,) = core.submit(wrong)
        assert isinstance(refused, Failed)
        assert refused.kind == "invalid"


def test_a_vector_that_is_not_finite_is_the_adapters_fault(make_engine: MakeEngine, base: Path, adapters: Path) -> None:
    core = make_engine(base)
    events = core.submit(embed("e", prompt(5), "mean", (("plain", 1e30),), adapters))
    while core.has_work:
        events += step(core)
    (failed,) = events
    assert isinstance(failed, Failed)
    assert failed.kind == "adapter"
    core.check_integrity()
