"""Steps that are replayed from tapes give, bit for bit, what steps that are run give."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import pytest
from support.checkpoints import VOCAB, write_adapter, write_adapters, write_base
from support.engines import Output, make_engine, request, run
from support.tiny import tiny
from transformers import Gemma2Config, PreTrainedConfig, Qwen2Config, Qwen3Config

from loraplex_kernels import native
from loraplex_server.engine import make_runner
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.graphs import tapes
from loraplex_server.engine.graphs.tapes import DecodeTapes
from loraplex_server.engine.messages import GenerateRequest

pytestmark = pytest.mark.skipif(native.library() is None, reason=native.status())

SHAPE = tiny(VOCAB, layers=3, spread=0.3) | {"hidden_size": 64}  # heads of 16, which the compiled attention takes
FAMILIES: dict[str, PreTrainedConfig] = {
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16),
    "gemma2": Gemma2Config(**SHAPE, head_dim=16, query_pre_attn_scalar=16, sliding_window=6),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "r3": {"r": 3, "target_modules": "all-linear"},
    "r17": {"r": 17, "use_rslora": True, "target_modules": ["v_proj", "down_proj"]},
    "r70": {"r": 70, "target_modules": ["q_proj", "gate_proj"]},
    "dora": {"r": 5, "use_dora": True, "target_modules": ["v_proj", "o_proj"]},
}


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"), FAMILIES[request.param])


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapters(base, tmp_path_factory.mktemp("adapters"), VARIANTS)


def prompt(length: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(3, VOCAB), k=length)


def mixed(root: Path, count: int = 8) -> list[GenerateRequest]:
    """Answers of all lengths, over the ends of blocks of 8, so that steps of 1 to 8 rows come up."""
    names: list[list[Any]] = [[], ["r3"], ["r17"], [("r3", 0.5), "r70"], ["r70"], [], ["r3"], ["r17"]]
    return [
        request(f"r{at}", prompt(3 + at, at), names[at % len(names)], root=root, max_tokens=4 + 3 * at)
        for at in range(count)
    ]


def pair(base: Path, **options: Any) -> tuple[EngineCore, EngineCore]:
    """An engine that runs its steps, and one that replays them."""
    return make_engine(base, **options, graphs=False), make_engine(base, **options)


def tapes_of(core: EngineCore) -> DecodeTapes:
    assert isinstance(core.runner.graphs, DecodeTapes)
    return core.runner.graphs


def same(outputs: dict[tuple[str, int], Output], expected: dict[tuple[str, int], Output]) -> None:
    assert outputs.keys() == expected.keys()
    for name, output in outputs.items():
        assert (output.tokens, output.logprobs) == (expected[name].tokens, expected[name].logprobs)


@pytest.mark.parametrize(
    "options",
    [{}, {"dtype": "bfloat16"}, {"quantization": "int8"}, {"quantization": "int4"}, {"adapter_dtype": "int8"}],
    ids=["float32", "bfloat16", "int8", "int4", "int8 adapters"],
)
def test_replayed_steps_answer_as_steps_that_are_run(base: Path, adapters: Path, options: dict[str, Any]) -> None:
    runs, replays = pair(base, **options)
    for _ in range(2):  # the second time from the first step on
        same(run(replays, mixed(adapters)), run(runs, mixed(adapters)))
        plain = [request(f"p{at}", prompt(5, at), max_tokens=3 + at) for at in range(5)]
        same(run(replays, plain), run(runs, plain))
    recorded = tapes_of(replays)
    assert len(recorded) >= 12
    assert recorded.nbytes < 4 << 20
    runs.store.close()
    replays.store.close()


def test_adapters_with_magnitudes_answer_the_same(base: Path, adapters: Path) -> None:
    runs, replays = pair(base)
    requests = [request(f"r{at}", prompt(5, at), ["dora"] if at else [], root=adapters) for at in range(3)]
    same(run(replays, requests), run(runs, requests))
    runs.store.close()
    replays.store.close()


def test_adapters_may_come_go_and_change_place_between_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(make_runner.FIRST_SLOTS, "cpu", 2)  # so that the table grows, which moves it
    base = write_base(tmp_path / "base", FAMILIES["qwen2"])
    for at in range(5):
        write_adapter(base, tmp_path / f"a{at}", seed=at, r=1 + at, target_modules=["q_proj", "down_proj"])
    runs, replays = pair(base)
    before = replays.runner.table.generation
    for chosen in ((0, 1), (1, 2, 3, 4), (4, 0)):
        requests = [request(f"r{at}", prompt(5, at), [f"a{at}"], root=tmp_path, max_tokens=3) for at in chosen]
        same(run(replays, requests), run(runs, requests))
    assert replays.runner.table.generation > before
    runs.store.close()
    replays.store.close()


def test_the_least_used_tapes_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapes, "MOST_TAPES", 2)
    runs, replays = pair(write_base(tmp_path, FAMILIES["qwen2"]))
    requests = [request(f"r{at}", prompt(4, at), max_tokens=2 + at) for at in range(5)]
    same(run(replays, requests), run(runs, requests))
    assert len(tapes_of(replays)) == 2
    runs.store.close()
    replays.store.close()


def test_a_model_that_computes_through_torch_is_run_and_the_log_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs, replays = pair(write_base(tmp_path, FAMILIES["qwen2"]))
    mlp = replays.runner.model.layers[1].mlp
    gated, before = mlp.gated, len(tapes_of(replays))  # one row, from the engine's own practice
    calls: list[Any] = []
    monkeypatch.setattr(mlp, "gated", lambda x: (calls.append(x), gated(x) + 0)[1])
    requests = [request(f"r{at}", prompt(4, at), max_tokens=2 + at) for at in range(3)]
    with caplog.at_level(logging.WARNING):
        same(run(replays, requests), run(runs, requests))
    said = [record.message for record in caplog.records if "tapes" in record.message]
    assert len(said) == 1
    assert "aten.add" in said[0]
    assert replays.stats().replays.run_total == {"prompt": 1, "kernels": 3}
    assert replays.stats().replays.replayed_total == 0
    assert len(calls) == 4  # also the step that turned out to be none that can be replayed was computed once
    assert len(tapes_of(replays)) == before
    runs.store.close()
    replays.store.close()


def test_an_engine_without_graphs_has_no_tapes(tmp_path: Path) -> None:
    core = make_engine(write_base(tmp_path), graphs=False)
    assert core.runner.graphs is None
    core.store.close()
