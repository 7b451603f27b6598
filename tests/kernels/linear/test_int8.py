from __future__ import annotations

import pytest
import torch
from support.tolerances import assert_near

from loraplex_kernels import native
from loraplex_kernels.linear import make_weight, rounding
from loraplex_kernels.linear.int8 import Int8Weight
from loraplex_kernels.linear.onednn import OnednnInt8Weight
from loraplex_kernels.linear.quantize import make_int8

CPU = torch.device("cpu")
SHAPES = [(128, 96), (150, 64), (7, 10), (3, 5), (300, 2050), (64, 5000)]
PATHS = ["torch", *native.variants()[:1]]


@pytest.fixture(params=PATHS, autouse=True)
def path(request, use):
    use(request.param)


def reference(x, served):
    """The formula of Int8Weight's docstring, exact but for the scales: `[T, N]` in float64."""
    scale = x.float().abs().amax(1, keepdim=True) / 127
    return (x.float() / scale).round().double() * scale.double() @ served.double().t()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_serves_what_it_says_it_serves(shape, dtype):
    weight = make_weight(torch.randn(shape), "int8", dtype, CPU)
    bias = torch.randn(shape[0]).to(dtype)
    for rows in (1, 5, 40):
        x = torch.randn(rows, shape[1]).to(dtype)
        y = weight(x, bias)
        assert y.dtype == dtype
        expected = reference(x, weight.dequantized()) + bias.double()
        assert_near(y, expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_weight_is_off_by_half_a_step_of_its_row_at_most(shape):
    weight = torch.randn(shape) * torch.rand(shape[0], 1) * 10
    error = (make_weight(weight, "int8", torch.float32, CPU).dequantized() - weight).abs()
    step = weight.abs().amax(1, keepdim=True) / 127
    assert (error <= 0.5001 * step).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parts_of_rows_that_keep_the_scales_of_the_whole_are_the_same_weight(shape, monkeypatch):
    """Each part rounds its own inputs, by their own largest value."""
    monkeypatch.setattr(rounding, "_BLOCK", 3 * shape[1])
    weight, x = torch.randn(shape) * torch.rand(shape[1]), torch.randn(6, shape[1])
    whole, scales, middle = make_weight(weight, "int8", torch.float32, CPU), rounding.row_scales(weight), shape[1] // 2
    parts = [make_int8(each, torch.float32, CPU, scales) for each in (weight[:, :middle], weight[:, middle:])]
    assert torch.equal(torch.cat([part.dequantized() for part in parts], 1), whole.dequantized())
    y = parts[0](x[:, :middle]) + parts[1](x[:, middle:])
    expected = reference(x[:, :middle], parts[0].dequantized()) + reference(x[:, middle:], parts[1].dequantized())
    assert (y.double() - expected).abs().max() / expected.abs().max() < 2e-6


def test_it_keeps_no_floating_point_copy():
    weight = make_weight(torch.randn(256, 512), "int8", torch.bfloat16, CPU)
    assert 256 * 512 < weight.nbytes <= 256 * 512 + 8 * 256
    assert (weight.out_features, weight.in_features) == (256, 512)


def test_a_row_is_bitwise_the_same_beside_any_others():
    weight = make_weight(torch.randn(150, 200), "int8", torch.float32, CPU)
    x = torch.randn(40, 200) * torch.rand(40, 1)
    whole = weight(x)
    for row in (0, 17, 39):
        assert torch.equal(weight(x[row : row + 1])[0], whole[row])


def test_zeros_stay_zeros():
    weight = torch.randn(20, 16)
    weight[3] = 0
    y = make_weight(weight, "int8", torch.float32, CPU)(torch.stack([torch.zeros(16), torch.ones(16)]))
    assert not y[0].any()
    assert y[1, 3] == 0
    assert torch.isfinite(y).all()


def test_a_device_that_it_does_not_run_on_is_refused_with_the_settings_name():
    with pytest.raises(ValueError, match=r"quantization int8 runs on the CPU only.*meta"):
        make_weight(torch.randn(4, 4), "int8", torch.float32, torch.device("meta"))


def test_the_compiled_kernel_computes_what_onednn_does():
    weight, x = torch.randn(150, 301), torch.randn(9, 301)
    ours = make_weight(weight, "int8", torch.float32, CPU)
    if not isinstance(ours, Int8Weight):
        pytest.skip("this machine or build multiplies no bytes: both are oneDNN's")
    theirs = OnednnInt8Weight(weight)
    assert torch.equal(ours.dequantized(), theirs.dequantized())
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-6, atol=1e-5)


def test_strided_rows_are_taken_and_what_does_not_fit_is_refused():
    weight = make_weight(torch.randn(20, 33), "int8", torch.float32, CPU)
    x = torch.randn(4, 70)[:, 3:36]
    assert torch.equal(weight(x), weight(x.contiguous()))
    if isinstance(weight, Int8Weight):
        with pytest.raises(ValueError, match="x must be"):
            weight(x[:, 1:])


def test_sums_of_rows_are_those_of_all_at_once(monkeypatch):
    monkeypatch.setattr(rounding, "_BLOCK", 3 * 50)  # a last block that is shorter
    rounded = torch.randint(-127, 128, (10, 50), dtype=torch.int8)
    assert torch.equal(rounding.row_sums(rounded), rounded.sum(dim=1, dtype=torch.int32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("place", [0, 63, 64, 95, 96, 97])
def test_a_row_with_nan_or_infinity_is_not_finite_and_its_neighbours_are(dtype, wide, place):
    """Bytes cannot say either, so the scale does: what overflowed must not look like an answer."""
    weight = make_weight(torch.randn(150, 98), "int8", dtype, CPU)
    if wide and isinstance(weight, Int8Weight):
        weight = Int8Weight(torch.randn(150, 98), dtype, wide=True)
    x = torch.randn(4, 98).to(dtype)
    x[1, place], x[3, place] = float("nan"), float("inf")
    y = weight(x, None)
    assert y[[0, 2]].isfinite().all()
    assert y[1].isnan().all()
    assert not y[3].isfinite().any()
    x[2] = float("nan")
    assert weight(x, None)[2].isnan().all()
