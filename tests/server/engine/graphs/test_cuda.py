"""On a GPU: what is recorded is replayed on what the buffers hold then, and an engine answers the same twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.checkpoints import VOCAB
from support.engines import Output, make_engine, request, run

from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.graphs.capture import CudaCapture
from loraplex_server.engine.messages import GenerateRequest

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda")
NAMES = [None, "plain-r4", "dora", "plain-r32", None, "rslora", "plain-r4"]


@pytest.fixture(scope="module")
def engine(base: Path) -> Iterator[EngineCore]:
    core = on_gpu(base)
    yield core
    core.store.close()


def on_gpu(base: Path, **options: object) -> EngineCore:
    # Without prefix caching the second time has the same batches as the first.
    return make_engine(base, device="cuda", enable_prefix_caching=False, max_num_seqs=8, **options)


def mixed(root: Path, count: int = 7) -> list[GenerateRequest]:
    return [
        request(
            f"r{place}",
            random.Random(place).choices(range(VOCAB), k=3 + 5 * place),
            [] if NAMES[place] is None else [NAMES[place]],
            root=root,
            max_tokens=5 + 3 * place,
            temperature=0.0 if place % 2 else 0.9,
            seed=place,
        )
        for place in range(count)
    ]


def told(outputs: dict[tuple[str, int], Output]) -> dict[tuple[str, int], tuple[list[int], list[float]]]:
    return {name: (output.tokens, output.logprobs) for name, output in outputs.items()}


def test_replays_read_what_the_buffers_hold_then() -> None:
    capture = CudaCapture(CUDA)
    inside, outside = torch.zeros(64, device=CUDA), torch.zeros(64, device=CUDA)
    calls = []

    def run() -> None:
        calls.append(1)
        outside.copy_((inside * 2).sort(descending=True).values + 1)

    replay = capture.capture(run)
    for value in (3.0, 5.0):
        inside.fill_(value)
        replay()
        assert bool((outside == 2 * value + 1).all())
    assert len(calls) == 2  # once before, once recorded


def test_graphs_share_their_scratch() -> None:
    capture = CudaCapture(CUDA)
    kept = torch.zeros(1, device=CUDA)

    def run() -> None:
        kept.add_(torch.ones(1 << 24, device=CUDA).sum())  # 64 MB for a moment

    replays = [capture.capture(run)]
    before = torch.cuda.memory_reserved()
    replays += [capture.capture(run) for _ in range(8)]
    assert torch.cuda.memory_reserved() - before < 2 << 26
    kept.zero_()
    for replay in replays:
        replay()
    assert kept.item() == 9 * (1 << 24)


def test_the_same_batches_give_bitwise_the_same_answers(engine: EngineCore, adapters: Path) -> None:
    run(engine, mixed(adapters))  # from now on all adapters are there
    first = told(run(engine, mixed(adapters)))
    for _ in range(3):
        assert told(run(engine, mixed(adapters))) == first


@pytest.mark.parametrize("options", [{"graphs": False}, {"overlap": False}], ids=["run", "in turn"])
def test_graphs_and_overlap_change_no_answer(
    engine: EngineCore, base: Path, adapters: Path, options: dict[str, bool]
) -> None:
    other = on_gpu(base, **options)
    for core in (engine, other):
        run(core, mixed(adapters))
    expected, outputs = run(other, mixed(adapters)), run(engine, mixed(adapters))
    for name, output in outputs.items():
        assert output.tokens == expected[name].tokens
        assert output.logprobs == pytest.approx(expected[name].logprobs, abs=1e-3)
    assert (other.runner.graphs is None) == ("graphs" in options)
    other.store.close()


def test_the_gpu_answers_as_the_cpu(engine: EngineCore, base: Path, adapters: Path) -> None:
    cpu = make_engine(base)
    asked = [each for each in mixed(adapters) if each.sampling.temperature == 0.0]
    expected, outputs = run(cpu, asked), run(engine, asked)
    for name, output in outputs.items():
        assert output.tokens == expected[name].tokens
        assert output.logprobs == pytest.approx(expected[name].logprobs, abs=1e-3)
    cpu.store.close()
