"""The largest steps before there are requests: of every kind, and within the limits of the real ones."""

from __future__ import annotations

import weakref
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from support.checkpoints import write_base

from loraplex_kernels.attention import allocate
from loraplex_server.engine import measure
from loraplex_server.engine.measure import measure_steps
from loraplex_server.engine.rehearsal import StepSizes, rehearse, zero_adapters
from loraplex_server.engine.step_needs import StepNeeds
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.load import load_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=[CPU, pytest.param(torch.device("cuda"), marks=pytest.mark.gpu)], ids=str)
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return request.param


@pytest.fixture(scope="module")
def model(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    base = write_base(tmp_path_factory.mktemp("base"))
    return load_model(str(base), device=device, dtype=torch.float32, quantization="none", max_model_len=None)


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        (StepSizes(10, 4, 100, 8), [3, 3, 2, 2]),
        (StepSizes(10, 4, 2, 8), [2, 2, 2, 2]),  # no sequence is longer than any may be
        (StepSizes(3, 8, 100, 8), [1, 1, 1]),
        (StepSizes(512, 1, 4096, 16), [512]),
    ],
)
def test_the_largest_step_is_spread_over_all_sequences(sizes: StepSizes, counts: list[int]) -> None:
    assert sizes.spread() == counts
    assert all(sum(each) <= sizes.tokens for each in sizes.all_counts())
    assert all(max(each) <= sizes.length for each in sizes.all_counts())
    assert sizes.blocks(counts) == sum(-(-count // sizes.block_size) for count in counts)


@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
def test_every_kind_of_step_runs(model: Decoder, device: torch.device, int8: bool) -> None:
    shape, sizes = model.config, StepSizes(80, 8, 128, 8)
    blocks = max(sizes.blocks(counts) for counts in sizes.all_counts())
    cache = allocate(shape.num_layers, blocks, shape.num_kv_heads, 8, shape.head_dim, torch.float32, device)
    rehearse(model, cache, zero_adapters(model, torch.float32, device, int8=int8), sizes)
    assert all(bool(layer.k.isfinite().all()) for layer in cache)


def test_on_a_cpu_nothing_is_measured(model: Decoder, device: torch.device) -> None:
    needs = measure_steps(
        model,
        StepSizes(80, 8, 128, 8),
        device,
        dtype=torch.float32,
        stored=torch.float32,
        int8=False,
        graphs=True,
    )
    if device.type == "cpu":
        assert needs == StepNeeds()
    else:
        assert needs.activations > 0
        assert needs.graphs > 0


class _Cache(list):
    """A list that can be watched."""


def test_what_was_measured_with_is_given_back_before_memory_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs are a cycle that holds the cache: left to the collector, the plan would count all of it as taken."""
    alive: list[bool] = []
    watched: list[weakref.ref[_Cache]] = []

    def cache(*_: object) -> _Cache:
        made = _Cache()
        watched.append(weakref.ref(made))
        return made

    def graphs(_: object, cache: _Cache, *__: object, **___: object) -> SimpleNamespace:
        made = SimpleNamespace(cache=cache)
        made.itself = made
        return made

    monkeypatch.setattr(measure, "allocate", cache)
    monkeypatch.setattr(measure, "zero_adapters", lambda *_, **__: None)
    monkeypatch.setattr(measure, "rehearse", lambda *_: None)
    monkeypatch.setattr(measure, "peak_of", lambda *_: 3)
    monkeypatch.setattr(measure, "decode_graphs", graphs)
    monkeypatch.setattr(measure, "kept_by", lambda make, _: (make(), 5))
    monkeypatch.setattr(measure, "_captured", lambda *_: 4)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(watched[0]() is not None))
    shape = SimpleNamespace(num_layers=1, num_kv_heads=1, head_dim=8)
    needs = measure_steps(
        cast(Decoder, SimpleNamespace(config=shape)),
        StepSizes(80, 8, 128, 8),
        torch.device("cuda"),
        dtype=torch.float32,
        stored=torch.float32,
        int8=False,
        graphs=True,
    )
    assert needs == StepNeeds(3, 5 + 4)
    assert alive == [False]
