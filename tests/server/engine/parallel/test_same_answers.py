"""Two processes answer as one does: batches of several adapters, what else the runner computes, and memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checkpoints import LLAMA, VARIANTS, prompt, write_adapters, write_base
from support.engines import Output, make_engine, request, run
from support.parted_inputs import part_inputs
from transformers import LlamaConfig

from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.graphs.tapes import DecodeTapes

pytestmark = pytest.mark.slow

Pair = tuple[EngineCore, EngineCore]
Outputs = dict[tuple[str, int], Output]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One head of keys and values for two ranks: both keep it."""
    return write_base(tmp_path_factory.mktemp("base"), LlamaConfig(**(LLAMA.to_dict() | {"num_key_value_heads": 1})))


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapters(base, tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def pair(base: Path) -> Iterator[Pair]:
    """One rank and two, with room for a few adapters at a time: so they come, go and change places."""
    cores = [
        make_engine(base, tensor_parallel_size=ranks, threads=1, adapter_memory=600_000 // ranks) for ranks in (1, 2)
    ]
    yield cores[0], cores[1]
    for core in cores:
        core.close()


def same(ours: Outputs, theirs: Outputs) -> None:
    assert ours.keys() == theirs.keys()
    for key, output in ours.items():
        assert output.failure is None, (key, output.failure)
        assert output.tokens == theirs[key].tokens, key
        assert output.logprobs == pytest.approx(theirs[key].logprobs, abs=1e-4), key


def test_a_batch_of_many_adapters_that_come_and_go(pair: Pair, adapters: Path) -> None:
    names = [*VARIANTS, "base"]
    for turn in range(2):
        asked = [
            request(name, prompt(7 + at, at + turn), [] if name == "base" else [name], root=adapters)
            for at, name in enumerate(names)
        ]
        asked.append(request("mixture", prompt(9, 3), [("plain-r4", 0.5), ("patterns", -1.0)], root=adapters))
        alone, divided = (run(core, asked) for core in pair)
        same(divided, alone)
    assert pair[1].store.stats().evictions_total > 0
    assert isinstance(pair[1].runner.graphs, DecodeTapes)
    assert len(pair[1].runner.graphs) > 0


def test_a_step_that_only_one_rank_can_record_is_exchanged_once(tmp_path: Path) -> None:
    """The second rank's part of down_proj begins within a group: it has no compiled kernel, and the first one's has."""
    base = write_base(tmp_path, LlamaConfig(**(LLAMA.to_dict() | {"intermediate_size": 272})))
    cores = [
        make_engine(base, tensor_parallel_size=ranks, threads=1, quantization="int4", graphs=ranks > 1)
        for ranks in (1, 2)
    ]
    try:
        asked = [request(f"r{at}", prompt(7 + at, at)) for at in range(3)]
        alone, divided = (run(core, asked) for core in cores)
        same(divided, alone)
    finally:
        for core in cores:
            core.close()


@pytest.fixture
def eight_bit(base: Path) -> Iterator[list[EngineCore]]:
    """One rank that rounds whole inputs, one that rounds them as two do, and two."""
    cores = [
        make_engine(base, tensor_parallel_size=ranks, threads=1, quantization="int8", graphs=ranks > 1)
        for ranks in (1, 1, 2)
    ]
    part_inputs(cores[1].runner.model, 2)  # without tapes, for one may have been recorded before
    yield cores
    for core in cores:
        core.close()


def test_eight_bit_activations_are_those_of_one_process_that_rounds_each_ranks_inputs_alone(
    eight_bit: list[EngineCore], adapters: Path
) -> None:
    """What adapters add is summed in another order, so that a last bit may put an activation on the other side of a
    half: that answer then has another rounding's errors, but there are few such.
    """
    names = [*VARIANTS, "base"]
    asked = [
        request(name, prompt(7 + at, at), [] if name == "base" else [name], root=adapters)
        for at, name in enumerate(names)
    ]
    whole, parted, divided = (run(core, asked) for core in eight_bit)
    assert all(output.failure is None for output in divided.values())
    assert agreeing(divided, parted) >= len(names) - 2
    assert agreeing(divided, whole) <= 2


def agreeing(ours: Outputs, theirs: Outputs) -> int:
    """How many answers are the same."""
    return sum(
        output.tokens == theirs[key].tokens and output.logprobs == pytest.approx(theirs[key].logprobs, abs=1e-4)
        for key, output in ours.items()
    )


def test_a_rank_holds_half_of_the_weights_and_of_adapters_what_is_divided(pair: Pair, adapters: Path) -> None:
    sizes = []
    for core in pair:
        run(core, [request("a", prompt(5, 1), ["plain-r32"], root=adapters)])
        sizes.append(next(e.nbytes for e in core.store.stats().entries if e.name == "plain-r32" and e.nbytes))
    assert sizes[1] < 0.8 * sizes[0]  # of A and B, the side that is as wide as the hidden states is everybody's
    weights = [core.runner.model.weights_nbytes for core in pair]
    assert weights[1] == pytest.approx(weights[0] / 2, rel=0.1)


def test_log_probabilities_of_prompts_and_random_draws(pair: Pair, adapters: Path) -> None:
    """All that is chosen is chosen by rank 0 alone."""
    asked = [
        request("scored", prompt(40, 2), ["head"], root=adapters, prompt_logprobs=2),
        request("drawn", prompt(6, 3), ["rslora"], root=adapters, temperature=1.0, seed=7, top_p=0.9, n=2),
    ]
    alone, divided = (run(core, asked) for core in pair)
    same(divided, alone)


def test_adapters_that_left_the_device_come_back_from_the_host_on_all_ranks(base: Path, adapters: Path) -> None:
    """There is room for some on the device, and for some more on the host: the rest is read again."""
    cores = [
        make_engine(
            base, tensor_parallel_size=ranks, threads=1, adapter_memory=600_000 // ranks, adapter_host_memory=host
        )
        for ranks, host in ((1, 0), (2, 100_000))
    ]
    try:
        for turn in range(4):
            asked = [request(name, prompt(5 + at, turn), [name], root=adapters) for at, name in enumerate(VARIANTS)]
            alone, divided = (run(core, asked) for core in cores)
            same(divided, alone)
        stats = cores[1].store.stats()
        assert stats.host_loads_total > 0
        assert stats.host_evictions_total > 0
    finally:
        for core in cores:
            core.close()


def test_a_model_that_cannot_be_divided_is_refused(base: Path) -> None:
    with pytest.raises(Exception, match="4 attention heads cannot be divided evenly"):
        make_engine(base, tensor_parallel_size=3)
