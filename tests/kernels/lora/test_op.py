"""The op against its formula, on every path that this machine has."""

from __future__ import annotations

import pytest
import torch

from loraplex_kernels.lora import Run, SiteGroup, SiteShape, add_lora, add_lora_naive, build_batch
from loraplex_kernels.lora.cpu_plan import BLOCK_ROWS
from loraplex_kernels.lora.eager import add_lora_eager
from loraplex_kernels.lora.workload import POPULARITIES, pick_slots, random_table
from loraplex_server.bench.limits.threads import computing_with

CPU = torch.device("cpu")

for_each_weights = pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
for_each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


@for_each_weights
@for_each_dtype
@pytest.mark.parametrize("popularity", POPULARITIES)
@pytest.mark.parametrize("rows", [3, 37])
def test_mixed_ranks_match_the_formula(add_lora, make_scene, assert_matches, popularity, rows, dtype, int8):
    slots = pick_slots(popularity, rows, 8, seed=rows)
    scene = make_scene([Run(row, 1, slot) for row, slot in enumerate(slots)], rows, dtype, int8=int8)
    assert_matches(scene.run(add_lora), scene.expected())


@for_each_weights
@for_each_dtype
@pytest.mark.parametrize("in_features", [1, 31, 33, 200])
def test_odd_sizes_match_the_formula(add_lora, make_scene, assert_matches, in_features, dtype, int8):
    scene = make_scene([Run(row, 1, row % 8) for row in range(11)], 11, dtype, in_features, int8=int8)
    assert_matches(scene.run(add_lora), scene.expected())


@for_each_weights
@for_each_dtype
def test_ranks_up_to_256_match_the_formula(add_lora, make_scene, assert_matches, dtype, int8):
    ranks = [(1, 256, 200), (255, 2, 0), (128, 129, 64)]
    scene = make_scene([Run(row, 1, row % 3) for row in range(7)], 7, dtype, ranks=ranks, int8=int8)
    assert_matches(scene.run(add_lora), scene.expected())


@for_each_weights
@for_each_dtype
def test_decoding_rows_and_prefill_runs_share_a_step(add_lora, make_scene, assert_matches, dtype, int8):
    long = 4 * BLOCK_ROWS + 3
    runs = [Run(0, 5, 3), Run(5, 1, 1), Run(7, long, 4), Run(7 + long, 1, 4), Run(8 + long, 70, 0)]
    scene = make_scene(runs, long + 80, dtype, int8=int8)
    assert_matches(scene.run(add_lora), scene.expected())


@for_each_weights
@for_each_dtype
def test_a_row_may_mix_adapters(add_lora, make_scene, assert_matches, dtype, int8):
    runs = [
        Run(0, 2, 3, 0.5),
        Run(0, 2, 1, 0.25),
        Run(1, 1, 7, -1.0),
        Run(3, 1, 3),
        Run(4, 1, 6, 0.1),
        Run(4, 1, 6, 0.2),
    ]
    scene = make_scene(runs, 6, dtype, int8=int8)
    assert scene.batch.mixed
    assert_matches(scene.run(add_lora), scene.expected())


@for_each_weights
@for_each_dtype
@pytest.mark.parametrize("rows", [3, 4 * BLOCK_ROWS])
def test_dora_scales_the_base_as_it_came_in(add_lora, make_scene, assert_matches, rows, dtype, int8):
    runs = [Run(0, rows, 1, 0.5), Run(0, rows, 3, 0.75), Run(rows, 1, 3), Run(rows + 1, 1, 6), Run(rows, 1, 2, 2.0)]
    scene = make_scene(runs, rows + 3, dtype, int8=int8, magnitudes=[slot in (1, 2, 3) for slot in range(8)])
    assert scene.batch.magnitude
    assert_matches(scene.run(add_lora), scene.expected())


@for_each_weights
@for_each_dtype
def test_rows_on_the_base_keep_their_very_bits(add_lora, make_scene, dtype, int8):
    scene = make_scene([Run(1, 2, 4), Run(6, 1, 2)], 9, dtype, int8=int8)
    outside = [0, 3, 4, 5, 7, 8]
    scene.y[outside] = torch.tensor([float("nan"), float("inf"), -0.0, 1.0, -1.0, 0.0]).to(dtype)[:, None]
    scene.x[outside] = float("nan")
    after, bits = scene.run(add_lora), torch.int32 if dtype == torch.float32 else torch.int16
    assert torch.equal(after[outside].view(bits), scene.y[outside].view(bits))
    assert after[[1, 2, 6]].isfinite().all()


@for_each_weights
def test_a_site_that_no_adapter_of_the_row_touches_keeps_its_very_bits(add_lora, make_scene, int8):
    scene = make_scene([Run(0, 1, 2), Run(1, 1, 5)], 2, magnitudes=(True,) * 8, int8=int8)
    scene.y[0, :96] = -0.0  # slot 2 has rank 0 there
    scene.y[1, 96:113] = -0.0  # slot 5 has nothing there
    after = scene.run(add_lora)
    assert torch.equal(after[0, :96].view(torch.int32), scene.y[0, :96].view(torch.int32))
    assert torch.equal(after[1, 96:113].view(torch.int32), scene.y[1, 96:113].view(torch.int32))


@for_each_weights
@for_each_dtype
def test_the_same_step_gives_the_same_bits(add_lora, make_scene, dtype, int8):
    runs = [Run(row, 1, row % 8) for row in range(40)] + [Run(40, 4 * BLOCK_ROWS, 3)]
    scene = make_scene(runs, 40 + 4 * BLOCK_ROWS, dtype, int8=int8)
    first = scene.run(add_lora)
    assert all(torch.equal(first, scene.run(add_lora)) for _ in range(5))


@for_each_weights
@for_each_dtype
def test_a_row_does_not_feel_its_neighbours(add_lora, make_scene, dtype, int8):
    full = make_scene([Run(row, 1, (0, 1, 1, 4)[row % 4]) for row in range(64)], 64, dtype, int8=int8)
    together = full.run(add_lora)
    for row in (0, 1, 2, 3, 62):
        alone = make_scene([Run(row, 1, (0, 1, 1, 4)[row % 4])], 64, dtype, int8=int8).run(add_lora)
        assert torch.equal(together[row], alone[row])


@for_each_weights
@for_each_dtype
def test_a_row_does_not_feel_how_long_its_prompt_is(add_lora, make_scene, dtype, int8):
    if add_lora is add_lora_eager:
        pytest.skip("torch's products choose their sums by the number of rows")
    rows = 4 * BLOCK_ROWS + 1
    together = make_scene([Run(0, rows, 3)], rows, dtype, int8=int8).run(add_lora)
    for row in (0, 1, 40, rows - 1):
        alone = make_scene([Run(row, 1, 3)], rows, dtype, int8=int8).run(add_lora)
        assert torch.equal(together[row], alone[row])


@for_each_weights
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(add_lora, make_scene, threads, int8):
    scene = make_scene([Run(row, 1, row % 8) for row in range(40)], 40, int8=int8)
    before = scene.run(add_lora)
    with computing_with(threads):
        assert torch.equal(scene.run(add_lora), before)


@for_each_weights
def test_y_and_x_may_be_parts_of_larger_tensors(add_lora, make_scene, assert_matches, int8):
    scene = make_scene([Run(row, 1, row) for row in range(6)], 6, int8=int8)
    around = torch.full((6, scene.y.shape[1] + 9), float("nan"))
    y = around[:, 4:-5]
    y.copy_(scene.y)
    x = torch.cat([scene.x, scene.x], dim=1)[:, : scene.x.shape[1]]
    add_lora(y, x, scene.group, scene.batch, scene.table)
    assert_matches(y, scene.expected())
    assert around[:, :4].isnan().all()
    assert around[:, -5:].isnan().all()


@for_each_weights
def test_nan_and_infinity_pass_through(add_lora, make_scene, int8):
    scene = make_scene([Run(0, 1, 1), Run(1, 1, 1), Run(2, 1, 1)], 3, int8=int8)
    scene.x[0, 0], scene.x[1, 0] = float("nan"), float("inf")
    after = scene.run(add_lora)
    assert after[0].isnan().all()
    assert not after[1].isfinite().any()
    assert after[2].isfinite().all()


@for_each_weights
def test_growing_the_table_moves_no_adapter(add_lora, make_scene, assert_matches, int8):
    scene = make_scene([Run(row, 1, row) for row in range(8)], 8, int8=int8)
    scene.run(add_lora)  # a plan that remembers where the table was
    scene.table.grow(50)
    assert_matches(scene.run(add_lora), scene.expected())


@for_each_weights
def test_float16_goes_through_torch(make_scene, assert_matches, int8):
    scene = make_scene([Run(row, 1, row) for row in range(8)], 8, torch.float16, int8=int8)
    assert_matches(scene.run(add_lora), scene.expected())


def test_shapes_and_dtypes_that_do_not_fit_are_named(make_scene):
    scene = make_scene([Run(0, 1, 1)], 2)
    with pytest.raises(ValueError, match=r"y is \[2, 152\]"):
        add_lora(scene.y[:, 1:], scene.x, scene.group, scene.batch, scene.table)
    with pytest.raises(ValueError, match="share a dtype"):
        add_lora(scene.y, scene.x.bfloat16(), scene.group, scene.batch, scene.table)
    with pytest.raises(ValueError, match="side by side"):
        add_lora(scene.y.T.contiguous().T, scene.x, scene.group, scene.batch, scene.table)


def test_torch_must_be_told_of_a_magnitude(make_scene):
    scene = make_scene([Run(0, 4 * BLOCK_ROWS, 1)], 4 * BLOCK_ROWS, magnitudes=(True,) * 8)
    untold = build_batch([Run(0, 4 * BLOCK_ROWS, 1)], CPU)
    with pytest.raises(ValueError, match="DoRA"):
        add_lora_eager(scene.y, scene.x, SiteGroup((1, 0, 3), (96, 17, 40)), untold, scene.table)


def test_the_reference_agrees_with_the_formula_written_out():
    table = random_table([[SiteShape(0, 4, 3, 2, 0.5)]], torch.float32, CPU, seed=0, sites=1)
    x, y, cell = torch.randn(1, 4), torch.randn(1, 3), table.weights(0, 0)
    expected = y + 0.5 * x @ cell.a.T @ cell.b  # PEFT's B is the transpose of ours
    add_lora_naive(y, x, SiteGroup((0,), (3,)), build_batch([Run(0, 1, 0)], CPU), table)
    torch.testing.assert_close(y, expected)


def test_int8_weights_stand_for_their_products_with_the_factor():
    table = random_table([[SiteShape(0, 4, 3, 2, 0.5)]], torch.float32, CPU, seed=0, sites=1, int8=True)
    x, y, cell = torch.randn(1, 4), torch.randn(1, 3), table.weights(0, 0)
    assert cell.a.dtype == cell.b.dtype == torch.int8
    delta = (cell.b.float() * cell.factor[:, None]).T @ cell.a.float()  # [out, in], as PEFT's B A
    expected = y + 0.5 * x @ delta.T
    add_lora_naive(y, x, SiteGroup((0,), (3,)), build_batch([Run(0, 1, 0)], CPU), table)
    torch.testing.assert_close(y, expected)
