from __future__ import annotations

import pytest
import torch

from loraplex_kernels import native
from loraplex_kernels.ops.convert import convert

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = [(1, 1), (5, 3), (16, 16), (896, 8), (7, 130), (33, 17)]


@pytest.fixture(params=["torch", *native.variants()], autouse=True)
def path(request, use):
    """Every test runs over torch and over every build of the kernels."""
    use(request.param)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("of", DTYPES)
@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_it_is_torchs_own_rounding(shape, of, to, transposed):
    source = torch.randn(shape).to(of)
    expected = (source.t() if transposed else source).to(to)
    wide = torch.full((expected.shape[0], expected.shape[1] + 3), 7.0, dtype=to)
    assert convert(source, wide[:, :-3], transposed=transposed)
    assert torch.equal(wide[:, :-3], expected)
    assert torch.equal(wide[:, -3:], torch.full_like(wide[:, -3:], 7.0))


@pytest.mark.parametrize("of", DTYPES)
@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_value_that_is_no_number_is_told(of, to, transposed, bad):
    source = torch.randn(40, 9).to(of)
    source[37, 8] = bad
    target = torch.empty(source.t().shape if transposed else source.shape, dtype=to)
    assert not convert(source, target, transposed=transposed)
    assert torch.equal(target.isnan(), (source.t() if transposed else source).isnan())


def test_a_value_too_large_for_the_target_is_told():
    source = torch.full((2, 3), 70_000.0)
    assert convert(source, torch.empty(2, 3, dtype=torch.bfloat16))
    assert not convert(source, torch.empty(2, 3, dtype=torch.float16))


def test_shapes_and_strides_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="does not convert"):
        convert(torch.zeros(2, 3), torch.zeros(2, 3), transposed=True)
    with pytest.raises(ValueError, match="does not convert"):
        convert(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="contiguous"):
        convert(torch.zeros(3, 2).t(), torch.zeros(2, 3))
