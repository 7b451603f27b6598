"""The Triton kernels against the formula: under Triton's interpreter, or on a GPU if Triton does not interpret.

test_triton.py runs this file, in a process of its own.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
import triton.language as tl
from triton.runtime import interpreter

from loraplex_kernels.lora import Run, SiteGroup, StaticLimits, StaticPlan, build_batch, triton_op
from loraplex_kernels.lora.tiles import TILES
from loraplex_kernels.lora.triton_op import add_lora_triton
from loraplex_kernels.lora.triton_plan import BULK_ROWS, DECODE_ROWS, PREFILL_ROWS, TritonPlan
from loraplex_kernels.lora.workload import POPULARITIES, pick_slots

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
# Of each site of the group: rank 0, missing, odd, wider than a tile, and the highest that PEFT's users train.
RANKS = ((1, 2, 3), (16, 16, 16), (0, 8, 0), (256, 1, 7), (128, 128, 5), (4, -1, 4), (0, 0, 0), (33, 17, 9))

for_each_weights = pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
for_each_launch = pytest.mark.parametrize("fused", [False, True], ids=["two launches", "one launch"])


@pytest.fixture
def scene_of(make_scene):
    """A scene on the device that the kernels run on."""

    def make(*arguments, **settings):
        return make_scene(*arguments, **{"ranks": RANKS, "device": DEVICE, **settings})

    return make


@pytest.fixture(autouse=True)
def bfloat16_dots(monkeypatch):
    """The interpreter keeps bfloat16 as its bits in uint16, and multiplies these as integers: widen them first."""
    original = interpreter.InterpreterBuilder.create_dot

    def widened(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return interpreter.TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def create_dot(self, a, b, d, *rest):
        return original(self, widened(a), widened(b), d, *rest)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


def add_with(fused):
    def add(*arguments):
        add_lora_triton(*arguments, fused=fused)

    return add


def assert_same_bits(one, other):
    integers = {4: torch.int32, 2: torch.int16}[one.element_size()]
    assert torch.equal(one.view(integers), other.view(integers))


@pytest.mark.covering(2)
@for_each_launch
@for_each_weights
@pytest.mark.parametrize("popularity", POPULARITIES)
def test_mixed_ranks_match_the_formula(scene_of, assert_matches, popularity, int8, fused):
    slots = pick_slots(popularity, 19, 8, seed=1)
    scene = scene_of([Run(row, 1, slot) for row, slot in enumerate(slots)], 19, int8=int8)
    assert_matches(scene.run(add_with(fused)), scene.expected())


@pytest.mark.covering(2)
@for_each_launch
@for_each_weights
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_matches_the_formula(scene_of, assert_matches, dtype, int8, fused):
    scene = scene_of([Run(row, 1, row) for row in range(8)], 8, dtype, int8=int8)
    assert_matches(scene.run(add_with(fused)), scene.expected())


@pytest.mark.covering(2)
@for_each_launch
@for_each_weights
@pytest.mark.parametrize("in_features", [1, 33, 2100])
def test_odd_sizes_match_the_formula(scene_of, assert_matches, in_features, int8, fused):
    scene = scene_of([Run(row, 1, row) for row in range(3)], 3, torch.float32, in_features, int8=int8)
    assert TILES[DECODE_ROWS].splits_of(2100) == 2
    assert_matches(scene.run(add_with(fused)), scene.expected())


@pytest.mark.covering(2)
@for_each_launch
@for_each_weights
@pytest.mark.parametrize("rows", [1, PREFILL_ROWS, BULK_ROWS])
def test_widths_that_are_read_in_wide_words_match_the_formula(scene_of, assert_matches, rows, int8, fused):
    group = SiteGroup(sites=(1, 0, 3), widths=(288, 16, 96))  # more than a tile, and less
    assert 288 > TILES[DECODE_ROWS].columns(group) == TILES[DECODE_ROWS].block_n
    scene = scene_of([Run(0, rows, 1), Run(rows, rows, 7)], 2 * rows, int8=int8, group=group)
    assert_matches(scene.run(add_with(fused)), scene.expected())


@for_each_launch
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy's, of infinity times 0
def test_an_infinity_does_not_become_a_nan_in_ranks_that_an_adapter_lacks(scene_of, fused):
    scene = scene_of([Run(0, 1, 0), Run(1, 1, 0)], 2, ranks=((1, 1, 1),))
    scene.x[1, 3] = float("inf")
    y = scene.run(add_with(fused))
    assert y[0].isfinite().all()
    assert y[1].isinf().all()


@pytest.mark.covering(1)
@for_each_weights
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_decoding_rows_and_prefill_runs_share_a_step(scene_of, assert_matches, dtype, int8):
    runs = [Run(0, 5, 3), Run(5, 1, 1), Run(7, PREFILL_ROWS + 6, 4), Run(80, BULK_ROWS + 3, 7)]
    scene = scene_of(runs, 212, dtype, int8=int8)
    sizes = [arrays.size for arrays in scene.batch.triton_plan.arrays]
    assert sizes == [DECODE_ROWS, PREFILL_ROWS, BULK_ROWS]
    assert_matches(scene.run(add_lora_triton), scene.expected())


@for_each_launch
@for_each_weights
def test_a_row_may_mix_adapters(scene_of, assert_matches, int8, fused):
    runs = [
        Run(0, 2, 3, 0.5),
        Run(0, 2, 1, 0.25),
        Run(1, 1, 7, -1.0),
        Run(3, 1, 3),
        Run(3, 1, 6, 0.1),
        Run(3, 1, 7, 0.2),
    ]
    scene = scene_of(runs, 5, int8=int8)
    assert_matches(scene.run(add_with(fused)), scene.expected())


@for_each_launch
@for_each_weights
def test_dora_scales_the_base_as_it_came_in(scene_of, assert_matches, int8, fused):
    runs = [Run(0, 3, 1, 0.5), Run(0, 3, 3, 0.75), Run(3, 1, 3), Run(4, 1, 7), Run(3, 1, 2, 2.0)]
    scene = scene_of(runs, 6, int8=int8, magnitudes=[slot in (1, 2, 3) for slot in range(8)])
    assert_matches(scene.run(add_with(fused)), scene.expected())


def test_a_short_run_within_a_long_one_is_summed_with_it(scene_of, assert_matches):
    """As where an activated DoRA begins late in a prompt. Elsewhere it would scale what the other has made of y."""
    runs = [Run(0, BULK_ROWS, 1), Run(BULK_ROWS - 3, 3, 3, 0.5), Run(BULK_ROWS + 2, 1, 3)]
    scene = scene_of(runs, BULK_ROWS + 3, magnitudes=(True,) * 8)
    assert [arrays.size for arrays in TritonPlan(scene.batch.runs, DEVICE).arrays] == [DECODE_ROWS, BULK_ROWS]
    assert_matches(scene.run(add_lora_triton), scene.expected())


@for_each_launch
@for_each_weights
def test_rows_on_the_base_keep_their_very_bits(scene_of, int8, fused):
    scene = scene_of([Run(1, 2, 4), Run(4, 1, 2)], 6, int8=int8)
    outside = [0, 3, 5]
    scene.y[outside] = torch.tensor([float("nan"), -0.0, float("inf")], device=DEVICE)[:, None]
    scene.x[outside] = float("nan")
    scene.y[4, :96] = -0.0  # slot 2 has rank 0 there
    after = scene.run(add_with(fused))
    assert_same_bits(after[outside], scene.y[outside])
    assert_same_bits(after[4, :96], scene.y[4, :96])
    assert after[[1, 2, 4]].isfinite().all()


@pytest.mark.covering(1)
@for_each_weights
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_one_launch_and_two_give_the_same_bits_each_time(scene_of, dtype, int8):
    scene = scene_of([Run(row, 1, (1, 7, 5)[row % 3]) for row in range(10)], 10, dtype, 2100, int8=int8)
    first = scene.run(add_with(fused=False))
    for fused in (False, True, True):
        assert_same_bits(scene.run(add_with(fused)), first)


@for_each_launch
@for_each_weights
def test_a_row_does_not_feel_its_neighbours(scene_of, int8, fused):
    together = scene_of([Run(row, 1, row % 3) for row in range(9)], 9, int8=int8).run(add_with(fused))
    alone = scene_of([Run(4, 1, 1)], 9, int8=int8).run(add_with(fused))
    assert_same_bits(together[4], alone[4])


STEPS = {
    "full": [Run(row, 1, (1, 7, 4)[row % 3]) for row in range(12)],
    "one row": [Run(3, 1, 4)],
    "one adapter": [Run(0, 12, 1)],
    "rank 0": [Run(0, 1, 6), Run(1, 1, 2)],
    "a mixture": [Run(0, 2, 1, 0.5), Run(1, 1, 4, 2.0)],
}


@for_each_launch
@for_each_weights
def test_a_captured_plan_gives_the_bits_of_a_free_one(scene_of, int8, fused):
    """The same buffers, one step after the other: no step sees what the one before left."""
    scene = scene_of(STEPS["full"], 12, int8=int8)
    plan = StaticPlan(StaticLimits(rows=12, uses=12, rank=128), scene.table)
    for runs in STEPS.values():
        step = replace(scene, batch=build_batch(runs, DEVICE))
        plan.update(step.batch)
        captured = replace(scene, batch=plan.batch).run(add_with(fused))
        assert_same_bits(captured, step.run(add_with(fused)))
    plan.clear()
    assert_same_bits(replace(scene, batch=plan.batch).run(add_with(fused)), scene.y)


def test_a_plan_for_dora_takes_steps_without(scene_of, assert_matches):
    scene = scene_of(STEPS["full"], 12, magnitudes=[slot == 1 for slot in range(8)])
    plan = StaticPlan(StaticLimits(rows=12, uses=12, rank=128, magnitude=True), scene.table)
    for runs, magnitude in ((STEPS["full"], True), (STEPS["one row"], False)):
        step = replace(scene, batch=build_batch(runs, DEVICE, magnitude))
        plan.update(step.batch)
        assert_matches(replace(scene, batch=plan.batch).run(add_lora_triton), step.expected())


@pytest.mark.skipif(INTERPRETED, reason="needs a CUDA device")
@for_each_launch
def test_a_graph_replays_every_step(scene_of, fused):
    scene = scene_of(STEPS["full"], 12)
    plan = StaticPlan(StaticLimits(rows=12, uses=12, rank=128), scene.table)
    y = torch.empty_like(scene.y)

    def launch():
        add_lora_triton(y, scene.x, scene.group, plan.batch, scene.table, fused=fused)

    launch()  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch()
    for runs in STEPS.values():
        step = replace(scene, batch=build_batch(runs, DEVICE))
        plan.update(step.batch)
        y.copy_(scene.y)
        graph.replay()
        assert_same_bits(y, step.run(add_with(fused)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_ranks_of_zero_launch_nothing(scene_of, dtype, monkeypatch):
    scene = scene_of([Run(0, 1, 0)], 1, dtype, ranks=[(0, 0, 0)])
    monkeypatch.setattr(triton_op, "_expand", None)
    assert torch.equal(scene.run(add_lora_triton), scene.y)


def test_a_dtype_that_no_kernel_takes_is_an_error(scene_of):
    scene = scene_of([Run(0, 1, 1)], 1)
    with pytest.raises(TypeError, match="float64"):
        add_lora_triton(scene.y.double(), scene.x.double(), scene.group, scene.batch, scene.table)
