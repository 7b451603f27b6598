"""Four-bit weights through the compiled kernel, against what their form says they are, in float64."""

from __future__ import annotations

import pytest
import torch
from support.tolerances import assert_near

from loraplex_kernels import native
from loraplex_kernels.linear import int4
from loraplex_kernels.linear.forms import Float8, GroupedInts, Lookup
from loraplex_kernels.linear.int4 import Int4Weight
from loraplex_server.bench.limits.threads import computing_with

pytestmark = pytest.mark.skipif(native.library() is None, reason=native.status())

DTYPES = [torch.float32, torch.bfloat16]
BUILDS = native.variants()
# QLoRA, arXiv:2305.14314, appendix E
NF4 = torch.tensor(
    [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
     -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
     0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]
)  # fmt: skip
# bfloat16 holds all of them
HALVES = torch.tensor([0, 0.0625, 8, 12, 4, 6, 2, 3, -0.0, -0.0625, -8, -12, -4, -6, -2, -3])


def integers(shape, group, zero=None, order=False, scale=torch.float32):
    """Random codes; `zero` is None, "whole" or "broken"."""
    groups = -(-shape[1] // group)
    points = None
    if zero is not None:
        points = torch.randint(0, 16, (shape[0], groups)).float() + (0.37 if zero == "broken" else 0)
    scales = (torch.rand(shape[0], groups) + 0.1).to(scale)
    codes = torch.randint(0, 16, shape, dtype=torch.uint8)
    return GroupedInts(codes, scales, points, group, 4, torch.randperm(shape[1]) if order else None)


def looked_up(shape, table=NF4, block=64):
    absmax = torch.rand(shape[0], shape[1] // block) + 0.1
    return Lookup(torch.randint(0, 16, shape, dtype=torch.uint8), absmax, table, block)


FORMS = {
    "group 128": lambda: integers((192, 384), 128),
    "group 128, K over": lambda: integers((150, 300), 128, scale=torch.float16),
    "group 32": lambda: integers((70, 96), 32, scale=torch.bfloat16),
    "group 64, zero": lambda: integers((65, 130), 64, zero="whole"),
    "group 96": lambda: integers((64, 200), 96, zero="whole"),
    "group 256": lambda: integers((33, 600), 256, zero="broken"),
    "whole": lambda: integers((20, 514), 514),
    "whole, K odd": lambda: integers((7, 2051), 2051, zero="whole"),
    "group past K": lambda: integers((3, 10), 128),
    "one input": lambda: GroupedInts(
        torch.tensor([[3]], dtype=torch.uint8), torch.tensor([[0.7]]), torch.tensor([[12.0]]), 32, 4
    ),
    "order": lambda: integers((100, 256), 128, order=True),
    "order, zero, K odd": lambda: integers((100, 161), 32, zero="whole", order=True),
    "NF4": lambda: looked_up((150, 192)),
    "a table of halves": lambda: looked_up((64, 192), HALVES),
    "block 32": lambda: looked_up((10, 32), block=32),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=FORMS)
def form(request, _seed):
    return FORMS[request.param]()


def check(weight, form, x, bias):
    y = weight(x, bias)
    assert y.dtype == x.dtype
    expected = x.double() @ form.dequantized().double().t() + (0 if bias is None else bias.double())
    assert_near(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("build", BUILDS)
def test_every_build_serves_every_form(build, form, dtype, use):
    use(build)
    weight = Int4Weight(form, dtype)
    outputs, inputs = form.shape
    bias = torch.randn(outputs).to(dtype)
    for rows in (1, 2, 3, 4, 5, 6, 7, 40, 200):
        check(weight, form, torch.randn(rows, inputs).to(dtype), bias if rows % 2 else None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("build", BUILDS[:1])
def test_any_number_of_rows_is_served(build, dtype, use):
    use(build)
    form = integers((150, 300), 64, zero="whole")
    weight = Int4Weight(form, dtype)
    for rows in range(1, 41):
        check(weight, form, torch.randn(rows, 300).to(dtype), None)


def test_activations_far_from_zero_cost_no_digits():
    form = integers((64, 512), 128, zero="whole")
    check(Int4Weight(form, torch.float32), form, torch.randn(3, 512) + 100, None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("build", BUILDS)
def test_a_row_is_bitwise_the_same_beside_any_others(build, form, dtype, use):
    use(build)
    weight = Int4Weight(form, dtype)
    x = torch.randn(130, form.shape[1]).to(dtype)
    whole = weight(x)
    for first, count in ((0, 1), (129, 1), (5, 2), (7, 6), (60, 70), (3, 96)):
        assert torch.equal(weight(x[first : first + count]), whole[first : first + count])


@pytest.mark.parametrize("zero", [None, "whole"])
def test_the_number_of_threads_changes_no_bit(zero):
    weight = Int4Weight(integers((700, 1100), 128, zero=zero), torch.bfloat16)
    x, results = torch.randn(20, 1100).bfloat16(), []
    for threads in (1, 3):
        with computing_with(threads):
            results.append(weight(x))
    assert torch.equal(*results)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_weight_comes_back_as_it_went_in(form, dtype):
    weight, expected = Int4Weight(form, dtype), form.dequantized()
    assert torch.equal(weight.dequantized(), expected)
    assert (weight.out_features, weight.in_features) == form.shape
    index = torch.arange(form.shape[0]).flip(0)[:5]
    assert torch.equal(weight.rows(index), expected[index].to(dtype))
    assert weight.rows(index[:0]).shape == (0, form.shape[1])


def test_more_outputs_than_are_unpacked_at_once_come_back_in_order():
    form = integers((1100, 64), 64)
    assert torch.equal(Int4Weight(form, torch.bfloat16).dequantized(), form.dequantized())


def test_scales_and_zero_points_of_two_bytes_take_two():
    halves = integers((256, 1024), 128, zero="whole", scale=torch.float16)
    table = 16 * 4
    assert Int4Weight(halves, torch.bfloat16).nbytes == 256 * (512 + 8 * (2 + 2)) + table
    floats = integers((256, 1024), 128, zero="broken", scale=torch.float32)
    assert Int4Weight(floats, torch.bfloat16).nbytes == 256 * (512 + 8 * (4 + 4)) + table
    ordered = integers((256, 1024), 128, order=True, scale=torch.bfloat16)
    assert Int4Weight(ordered, torch.bfloat16).nbytes == 256 * (512 + 8 * 2) + table + 1024 * 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [False, True])
def test_strided_rows_and_biases_are_taken(dtype, order):
    form = integers((70, 64), 32, zero="whole", order=order)
    weight = Int4Weight(form, dtype)
    wide, bias = torch.randn(5, 171).to(dtype), torch.randn(140).to(dtype)[::2]
    for x in (wide[:, 7:71], wide[:, :128:2], wide.t()[:64, :5].t()):
        assert torch.equal(weight(x, bias), weight(x.contiguous(), bias.contiguous()))


def test_no_rows_give_no_rows():
    assert Int4Weight(integers((70, 64), 32, zero="whole"), torch.float32)(torch.empty(0, 64)).shape == (0, 70)


def test_infinities_and_nans_reach_the_rows_they_belong_to_and_no_other():
    weight = Int4Weight(integers((70, 160), 32), torch.float32)
    x = torch.randn(9, 160)
    clean = weight(x)
    x[4, 130], x[7, 3] = float("nan"), float("inf")
    y = weight(x)
    assert y[4].isnan().all()
    assert not y[7].isfinite().any()
    kept = [0, 1, 2, 3, 5, 6, 8]
    assert torch.equal(y[kept], clean[kept])


def test_what_is_not_packable_is_refused(use):
    eight = GroupedInts(torch.zeros(8, 64, dtype=torch.uint8), torch.ones(8, 2), None, 32, 8)
    narrow = integers((8, 64), 16)
    float8 = Float8(torch.zeros(8, 64, dtype=torch.float8_e4m3fn), torch.ones(8, 1), 1, 64)
    for form in (eight, narrow, float8):
        assert not int4.packable(form, torch.bfloat16)
        with pytest.raises(ValueError, match="no four-bit kernel"):
            Int4Weight(form, torch.bfloat16)
    form = integers((8, 64), 32)
    assert not int4.packable(form, torch.float16)
    assert int4.packable(form, torch.float32)
    use("torch")
    assert not int4.packable(form, torch.float32)


def test_inputs_that_do_not_fit_are_refused():
    weight = Int4Weight(integers((10, 64), 32), torch.float32)
    for x, bias in [
        (torch.randn(2, 65), None),
        (torch.randn(2, 64).bfloat16(), None),
        (torch.randn(64), None),
        (torch.randn(2, 64), torch.randn(9)),
        (torch.randn(2, 64), torch.randn(10).double()),
    ]:
        with pytest.raises(ValueError, match=r"must be torch\.float32"):
            weight(x, bias)
