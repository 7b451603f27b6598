"""The Triton kernels under Triton's interpreter. test_triton.py runs this file, in a process of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton.language as tl
from triton.runtime import interpreter

from loraplex_kernels.lora import Run
from loraplex_kernels.lora.tiles import TILES
from loraplex_kernels.lora.triton_op import add_lora_triton
from loraplex_kernels.lora.triton_plan import DECODE_ROWS
from loraplex_kernels.lora.workload import POPULARITIES, pick_slots

for_each_weights = pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])


@for_each_weights
@pytest.mark.parametrize("popularity", POPULARITIES)
def test_mixed_ranks_match_the_formula(make_scene, assert_matches, popularity, int8):
    slots = pick_slots(popularity, 19, 8, seed=1)
    scene = make_scene([Run(row, 1, slot) for row, slot in enumerate(slots)], 19, int8=int8)
    assert_matches(scene.run(add_lora_triton), scene.expected())


@pytest.fixture
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


@for_each_weights
@pytest.mark.usefixtures("bfloat16_dots")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_matches_the_formula(make_scene, assert_matches, dtype, int8):
    scene = make_scene([Run(row, 1, row) for row in range(8)], 8, dtype, int8=int8)
    assert_matches(scene.run(add_lora_triton), scene.expected())


@for_each_weights
@pytest.mark.parametrize("in_features", [1, 33, 2100])
def test_odd_sizes_match_the_formula(make_scene, assert_matches, in_features, int8):
    scene = make_scene([Run(row, 1, row) for row in range(3)], 3, torch.float32, in_features, int8=int8)
    assert TILES[DECODE_ROWS].splits_of(2100) == 2
    assert_matches(scene.run(add_lora_triton), scene.expected())


@for_each_weights
def test_decoding_rows_and_prefill_runs_share_a_step(make_scene, assert_matches, int8):
    scene = make_scene([Run(0, 5, 3), Run(5, 1, 1), Run(7, 70, 4)], 78, int8=int8)
    assert_matches(scene.run(add_lora_triton), scene.expected())


@for_each_weights
def test_a_row_may_mix_adapters(make_scene, assert_matches, int8):
    runs = [
        Run(0, 2, 3, 0.5),
        Run(0, 2, 1, 0.25),
        Run(1, 1, 7, -1.0),
        Run(3, 1, 3),
        Run(3, 1, 6, 0.1),
        Run(3, 1, 6, 0.2),
    ]
    scene = make_scene(runs, 5, int8=int8)
    assert_matches(scene.run(add_lora_triton), scene.expected())


@for_each_weights
def test_dora_scales_the_base_as_it_came_in(make_scene, assert_matches, int8):
    runs = [Run(0, 3, 1, 0.5), Run(0, 3, 3, 0.75), Run(3, 1, 3), Run(4, 1, 6), Run(3, 1, 2, 2.0)]
    scene = make_scene(runs, 6, int8=int8, magnitudes=[slot in (1, 2, 3) for slot in range(8)])
    assert_matches(scene.run(add_lora_triton), scene.expected())


@for_each_weights
def test_rows_on_the_base_keep_their_very_bits(make_scene, int8):
    scene = make_scene([Run(1, 2, 4), Run(4, 1, 2)], 6, int8=int8)
    outside = [0, 3, 5]
    scene.y[outside] = torch.tensor([float("nan"), -0.0, float("inf")])[:, None]
    scene.x[outside] = float("nan")
    scene.y[4, :96] = -0.0  # slot 2 has rank 0 there
    after = scene.run(add_lora_triton)
    assert torch.equal(after[outside].view(torch.int32), scene.y[outside].view(torch.int32))
    assert torch.equal(after[4, :96].view(torch.int32), scene.y[4, :96].view(torch.int32))
    assert after[[1, 2, 4]].isfinite().all()


@for_each_weights
def test_the_same_step_gives_the_same_bits_and_a_row_does_not_feel_its_neighbours(make_scene, int8):
    scene = make_scene([Run(row, 1, row % 3) for row in range(9)], 9, int8=int8)
    together = scene.run(add_lora_triton)
    assert torch.equal(together, scene.run(add_lora_triton))
    alone = make_scene([Run(4, 1, 1)], 9, int8=int8).run(add_lora_triton)
    assert torch.equal(together[4], alone[4])


def test_ranks_of_zero_launch_nothing(make_scene):
    scene = make_scene([Run(0, 1, 0)], 1, ranks=[(0, 0, 0)])
    assert torch.equal(scene.run(add_lora_triton), scene.y)


def test_a_dtype_that_no_kernel_takes_is_an_error(make_scene):
    scene = make_scene([Run(0, 1, 1)], 1)
    with pytest.raises(TypeError, match="float64"):
        add_lora_triton(scene.y.double(), scene.x.double(), scene.group, scene.batch, scene.table)
