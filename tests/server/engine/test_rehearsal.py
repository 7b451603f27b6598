"""The largest steps before there are requests: of every kind, and within the limits of the real ones."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from support.checkpoints import write_base
from torch import Tensor

from loraplex_kernels.attention import AttentionBatch, allocate
from loraplex_kernels.lora import AdapterTable, SiteGroup
from loraplex_kernels.lora.batch import LoraBatch
from loraplex_kernels.lora.tiles import fuses
from loraplex_server.engine import measure, rehearsal
from loraplex_server.engine.graphs.decode import DecodeGraphs
from loraplex_server.engine.graphs.key import AT_START, LATER, RANKS, GraphKey
from loraplex_server.engine.measure import measure_steps
from loraplex_server.engine.rehearsal import StepSizes, rehearse, zero_adapters
from loraplex_server.engine.sample_inputs import SampleInputs
from loraplex_server.engine.sampler import Sampled
from loraplex_server.engine.step_needs import StepNeeds
from loraplex_server.models import attention as model_attention
from loraplex_server.models import head, linear
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


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    base = write_base(tmp_path_factory.mktemp("small"))
    return load_model(str(base), device=CPU, dtype=torch.float32, quantization="none", max_model_len=None)


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


def practise(model: Decoder, sizes: StepSizes, *, int8: bool = False) -> None:
    """On the CPU."""
    shape = model.config
    blocks = max(sizes.blocks(counts) for counts in sizes.all_counts())
    cache = allocate(shape.num_layers, blocks, shape.num_kv_heads, 8, shape.head_dim, torch.float32, CPU)
    rehearse(model, cache, zero_adapters(model, torch.float32, CPU, int8=int8), sizes)


@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("sequences", [1, 3, 100])
def test_each_linear_meets_every_form_of_the_lora_kernels(
    small: Decoder, sequences: int, int8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few sequences rank 16 is always decoded in one launch, with many and long rows always in two."""
    forms: dict[tuple[int, ...], set[tuple[int, bool, bool]]] = {}
    add_lora = linear.add_lora

    def seen(y: Tensor, x: Tensor, group: SiteGroup, batch: LoraBatch, table: AdapterTable) -> None:
        highest = batch.triton_plan.highest_rank(table)
        for arrays in batch.triton_plan.arrays:
            one = fuses(arrays, group, x.shape[1], highest, 1 if table.int8 else x.itemsize)
            forms.setdefault(group.sites, set()).add((arrays.size, one, batch.magnitude))
        add_lora(y, x, group, batch, table)

    for module in (linear, head):
        monkeypatch.setattr(module, "add_lora", seen)
    practise(small, StepSizes(200, sequences, 256, 8), int8=int8)
    decoding = {(8, one, magnitude) for one in (False, True) for magnitude in (False, True)}
    prompts = {(size, False, magnitude) for size in (64, 128) for magnitude in (False, True)}
    assert forms.pop(small.head.group.sites) == decoding
    assert len(forms) == 4 * small.config.num_layers
    assert all(of_linear == decoding | prompts for of_linear in forms.values())


def test_queries_and_keys_are_turned_in_one_kernel_and_in_two(small: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an adapter of the step brings more than low rank, the second way is taken."""
    called: set[str] = set()

    def seen(name: str, op: Callable[..., Any], *arguments: Any) -> Any:
        called.add(name)
        return op(*arguments)

    for name in ("norm_rotary_write", "rotary", "write_kv"):
        monkeypatch.setattr(model_attention, name, partial(seen, name, getattr(model_attention, name)))
    practise(small, StepSizes(200, 3, 256, 8))
    assert called == {"norm_rotary_write", "rotary", "write_kv"}


def test_the_longest_context_is_decoded_though_no_step_has_room_for_it(
    small: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context that is cut into parts is put together by a kernel of its own."""
    contexts: list[int] = []
    forward = Decoder.forward

    def seen(self: Decoder, tokens: Tensor, batch: AttentionBatch, *rest: Any) -> Tensor:
        contexts.append(batch.longest_decode)
        return forward(self, tokens, batch, *rest)

    monkeypatch.setattr(Decoder, "forward", seen)
    practise(small, StepSizes(16, 2, 250, 8))
    assert max(contexts) == 250


def test_the_sampler_meets_greedy_rows_that_ask_for_no_log_probabilities(
    small: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commonest of all, and a form of the kernel of its own."""
    chosen: set[tuple[bool, bool]] = set()
    sample = rehearsal.sample_on_device

    def seen(logits: Tensor, inputs: SampleInputs) -> Sampled:
        chosen.add((inputs.greedy, len(inputs.asked) > 0))
        return sample(logits, inputs)

    monkeypatch.setattr(rehearsal, "sample_on_device", seen)
    practise(small, StepSizes(4, 2, 16, 8))
    assert chosen == {(greedy, asked) for greedy in (False, True) for asked in (False, True)}


def test_memory_is_set_aside_for_all_graphs_that_are_ever_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    captured: list[GraphKey] = []
    sizes = (1, 2, 4, 8)

    class Keys:
        most = (len(AT_START) + LATER) * len(sizes)

        def __getitem__(self, key: GraphKey) -> None:
            captured.append(key)

    def kept_by(make: Callable[[], object], _: torch.device) -> tuple[object, int]:
        before = len(captured)
        made = make()
        shared = 100 if before == 0 else 0
        return made, shared + 7 * (len(captured) - before)

    monkeypatch.setattr(measure, "kept_by", kept_by)
    graphs = cast(DecodeGraphs, SimpleNamespace(sizes=sizes, cache=Keys()))
    assert measure._captured(graphs, CPU) == 100 + 7 * Keys.most
    assert GraphKey(8, RANKS[-1], magnitude=True) == captured[0]  # whose scratch is the largest


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
