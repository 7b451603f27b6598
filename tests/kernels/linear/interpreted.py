"""The quantized linears' Triton kernels: test_triton_linear.py runs this file, in a process of its own.

Under Triton's interpreter on the CPU, or on a GPU where that is not asked for.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton.language as tl
from support.random_forms import CASES, float8, ints, lookup
from support.tolerances import INTERPRETED, TOLERANCES
from triton.runtime import interpreter

from loraplex_kernels.linear import launches
from loraplex_kernels.linear.assembly import PORTABLE
from loraplex_kernels.linear.float8_rounding import round_rows_float8_naive
from loraplex_kernels.linear.forms import Float8, GroupedInts, Lookup
from loraplex_kernels.linear.packed_linear import linear_packed, linear_packed_naive
from loraplex_kernels.linear.triton_dequantize import dequantize_rows, dequantize_rows_naive
from loraplex_kernels.linear.triton_float8 import TritonFloat8Weight
from loraplex_kernels.linear.triton_grouped import TritonGroupedWeight
from loraplex_kernels.linear.triton_lookup import TritonLookupWeight
from loraplex_kernels.linear.triton_round import round_rows_float8

DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
ROWS = [1, 2, 7, 16, 17, 33, 64, 65]
HALF = [torch.float16, torch.bfloat16]
KINDS = {GroupedInts: TritonGroupedWeight, Lookup: TritonLookupWeight, Float8: TritonFloat8Weight}
for_each_case = pytest.mark.parametrize("case", CASES)


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


@pytest.fixture(autouse=True)
def float8_rounding(monkeypatch):
    """The interpreter cuts float8 off, and has no NaN in it; a GPU rounds to the nearest and keeps NaN, as torch."""
    original = interpreter._convert_float

    def rounded(data, source, target, mode):
        if source != tl.float32 or target != tl.float8e4nv:
            return original(data, source, target, mode)
        return torch.from_numpy(np.ascontiguousarray(data)).to(torch.float8_e4m3fn).view(torch.uint8).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", rounded)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def made(case, N, K, dtype):
    form = CASES[case](N, K)
    return form, KINDS[type(form)](form, dtype, DEVICE)


def assert_matches(y, x, served, bias, dtype, weight_rounding=0.0):
    """Against float64; `weight_rounding` is what the weights may be off by, relative."""
    x, served = x.double().cpu(), served.double().cpu()
    expected = x @ served.t() + (0 if bias is None else bias.double().cpu())
    terms = x.abs() @ served.abs().t()
    relative, of_terms = TOLERANCES["linear"][dtype]
    error = (y.double().cpu() - expected).abs()
    assert y.isfinite().all()
    assert (error <= relative * expected.abs() + (of_terms + weight_rounding) * terms).all(), (error / terms).max()


def rounding_of(case, dtype):
    """What a table of values loses when it becomes the dtype."""
    return 0.0 if "lookup" not in case or dtype == torch.float32 else TOLERANCES["linear"][dtype].relative


@pytest.mark.covering(1)
@for_each_case
@pytest.mark.parametrize("shape", [(100, 512), (65, 301), (3, 40)], ids=str)
def test_every_form_matches_its_own_reference_in_odd_sizes(case, shape):
    form, weight = made(case, *shape, torch.float32)
    x, bias = torch.randn(5, shape[1], device=DEVICE), torch.randn(shape[0], device=DEVICE)
    assert_matches(weight(x, bias), x, form.dequantized(), bias, torch.float32)
    assert_matches(weight(x), x, form.dequantized(), None, torch.float32)


@pytest.mark.covering(1)
@for_each_case
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_matches_the_formula(case, dtype):
    form, weight = made(case, 70, 512, dtype)
    x, bias = torch.randn(17, 512, device=DEVICE, dtype=dtype), torch.randn(70, device=DEVICE, dtype=dtype)
    assert_matches(weight(x, bias), x, form.dequantized(), bias, dtype, rounding_of(case, dtype))


@pytest.mark.covering(1)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
def test_any_number_of_rows_matches_the_formula(rows, dtype):
    form, weight = made("int4 g128 zero", 130, 1024, dtype)
    assert launches.splits_of(130, 8) == 2
    x = torch.randn(rows, 1024, device=DEVICE, dtype=dtype)
    assert_matches(weight(x), x, form.dequantized(), None, dtype)


@pytest.mark.covering(1)
@for_each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_many_rows_are_multiplied_in_slices_of_an_unpacked_weight(case, dtype, monkeypatch):
    monkeypatch.setattr(launches, "MOST_ROWS", 64)
    monkeypatch.setattr(launches, "SCRATCH_BYTES", 1)  # slices of 128 outputs
    form, weight = made(case, 300, 301, dtype)
    x, bias = torch.randn(65, 301, device=DEVICE, dtype=dtype), torch.randn(300, device=DEVICE, dtype=dtype)
    assert_matches(weight(x, bias), x, form.dequantized(), bias, dtype, 2**-11)
    assert_matches(weight(x), x, form.dequantized(), None, dtype, 2**-11)


@for_each_case
def test_the_weight_comes_back_from_its_packed_bits(case):
    for shape in ((100, 512), (3, 40)):
        form, weight = made(case, *shape, torch.float16)
        assert torch.equal(weight.dequantized().cpu(), form.dequantized())
        for first, last in ((0, 2), (1, shape[0]), (shape[0] // 2, shape[0])):
            assert torch.equal(weight.dequantized_part(first, last).cpu(), form.dequantized()[first:last])
        assert (weight.out_features, weight.in_features) == shape


@pytest.mark.covering(1)
@for_each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_unpacking_on_the_device_gives_the_weights_rounded_once(case, dtype):
    _, weight = made(case, 100, 301, dtype)
    unpacked = dequantize_rows(weight.packed, 33, 100, dtype)
    assert torch.equal(unpacked, dequantize_rows_naive(weight.packed, 33, 100, dtype))


@pytest.mark.parametrize(
    "case",
    ["int4 g128 zero", *(pytest.param(case, marks=pytest.mark.exhaustive) for case in ("lookup", "float8 tiles"))],
)
def test_a_row_is_bitwise_the_same_beside_any_others_and_from_run_to_run(case):
    dtype = torch.float32 if INTERPRETED else torch.bfloat16
    _, weight = made(case, 100, 1024, dtype)
    x = torch.randn(64, 1024, device=DEVICE, dtype=dtype)
    whole = weight(x)
    assert torch.equal(whole, weight(x))
    for rows in (1, 16, 17, 33):
        assert torch.equal(weight(x[:rows]), whole[:rows])
    x[5] = float("nan")
    others = [row for row in range(64) if row != 5]
    assert torch.equal(weight(x)[others], whole[others])


def test_the_counters_are_zero_again_after_each_launch():
    _, weight = made("int4 g128", 100, 1024, torch.float32)
    for rows in (1, 40):
        weight(torch.randn(rows, 1024, device=DEVICE))
        assert not weight.counts.any()


@pytest.mark.skipif(INTERPRETED, reason="numpy sums by the shape of a tile")
def test_every_launch_that_may_be_tuned_gives_the_same_bits():
    _, weight = made("int4 g128 zero", 300, 1024, torch.bfloat16)
    for bucket in launches.BUCKETS:
        x = torch.randn(bucket, 1024, device=DEVICE, dtype=torch.bfloat16)
        results = [
            linear_packed(x, weight.packed, None, weight.counts, weight.assembly, launch)
            for launch in launches.configs(bucket)
        ]
        assert all(torch.equal(results[0], result) for result in results)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter has no assembly")
@for_each_case
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_assembly_unpacks_what_plain_arithmetic_does(case, dtype):
    """Each weight by itself, since x picks one input a row."""
    _, weight = made(case, 256, 256, dtype)
    x = torch.eye(256, device=DEVICE, dtype=dtype)
    plain = linear_packed(x, weight.packed, None, weight.counts, PORTABLE)
    assert torch.equal(linear_packed(x, weight.packed, None, weight.counts, weight.assembly), plain)


def test_columns_that_do_not_lie_side_by_side_are_copied():
    form, weight = made("int4 g128", 40, 256, torch.float32)
    x = torch.randn(256, 3, device=DEVICE).t()
    assert_matches(weight(x), x, form.dequantized(), None, torch.float32)
    rows = torch.randn(3, 300, device=DEVICE)[:, 20:276]
    assert_matches(weight(rows), rows, form.dequantized(), None, torch.float32)


def test_no_rows_give_no_rows():
    _, weight = made("int4 g128", 40, 256, torch.float32)
    assert weight(torch.randn(0, 256, device=DEVICE)).shape == (0, 40)


def test_it_takes_no_more_memory_than_its_bits():
    N, K = 256, 1024
    bits = {"int4 g128": 4 + 16 / 128, "int4 g128 zero": 4 + 24 / 128, "lookup": 4 + 32 / 64, "float8 rows": 8 + 32 / K}
    for case, most in bits.items():
        _, weight = made(case, N, K, torch.bfloat16)
        assert weight.packed.nbytes <= N * K * most / 8 + 64  # and a lookup's table
        assert weight.nbytes == weight.packed.nbytes + weight.counts.nbytes
        assert weight.counts.nbytes <= N * 4


@pytest.mark.parametrize(
    "form",
    [ints(8, 96, 48), ints(8, 64, 16), lookup(8, 96, 48), float8(8, 96, 1, 16)],
    ids=["g48", "g16", "lookup 48", "float8 16"],
)
def test_groups_that_no_kernel_applies_are_refused(form):
    kind = KINDS[type(form)]
    assert not kind.supported(form, torch.bfloat16, DEVICE)
    with pytest.raises(ValueError, match=r"no Triton kernel .* 32"):
        kind(form, torch.bfloat16, DEVICE)


def test_zero_points_between_codes_are_refused():
    form = ints(8, 128, 128, zero=True)
    form.zero[3, 0] = 7.5
    assert not TritonGroupedWeight.supported(form, torch.bfloat16, DEVICE)
    with pytest.raises(ValueError, match="zero points whole numbers"):
        TritonGroupedWeight(form, torch.bfloat16, DEVICE)


def test_weights_that_are_not_numbers_are_refused():
    form = float8(8, 128, 1, 128)
    form.values.view(torch.uint8)[3, 3] = 0xFF
    with pytest.raises(ValueError, match="not numbers"):
        TritonFloat8Weight(form, torch.bfloat16, DEVICE)


def test_more_tiles_than_counters_are_refused():
    _, weight = made("int4 g128", 100, 256, torch.float32)
    with pytest.raises(ValueError, match="1 counts"):
        linear_packed(torch.randn(4, 256, device=DEVICE), weight.packed, None, weight.counts[:1], weight.assembly)


def test_the_naive_op_has_the_same_signature():
    _, weight = made("int4 g128", 100, 256, torch.float32)
    x = torch.randn(4, 256, device=DEVICE)
    y = linear_packed_naive(x, weight.packed, None, weight.counts, weight.assembly)
    assert_matches(y, x, weight.dequantized(), None, torch.float32)


@pytest.mark.parametrize("input_scale", [None, 0.01])
@pytest.mark.parametrize("K", [3, 512, 9000])
def test_rounding_rows_matches_the_formula(K, input_scale):
    x = torch.randn(4, K, device=DEVICE) * torch.tensor([1.0, 1e-3, 0.0, 300.0], device=DEVICE)[:, None]
    values, scale = round_rows_float8(x, input_scale)
    expected, expected_scale = round_rows_float8_naive(x, input_scale)
    assert torch.equal(scale, expected_scale)
    assert torch.equal(values.float(), expected.float())


@pytest.mark.parametrize("input_scale", [None, 0.01])
def test_what_is_no_number_stays_none_when_it_is_rounded_and_shows_in_its_row_alone(input_scale):
    x = torch.randn(3, 512, device=DEVICE)
    x[1, 7] = float("nan")
    values, scale = round_rows_float8(x, input_scale)
    assert (values.float() * scale).isnan().any(dim=1).tolist() == [False, True, False]
