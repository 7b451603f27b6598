from __future__ import annotations

from functools import partial

import pytest
import torch
from support.tolerances import assert_close

from loraplex_kernels import native
from loraplex_kernels.ops import add_rms_norm, gelu_tanh_and_mul, reference, rms_norm, rotary, silu_and_mul

PATHS = ["torch", *native.variants()]
DTYPES = [torch.float32, torch.bfloat16]
WIDTHS = [8, 64, 90, 896, 4864]
close = partial(assert_close, op="norms, gates, rotary")


@pytest.fixture(params=PATHS, autouse=True)
def path(request, use):
    """Every test runs over torch and over every build of the kernels."""
    use(request.param)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_rms_norm(width, dtype):
    x, weight = (torch.randn(5, 2 * width) * 3).to(dtype)[:, :width], torch.randn(width).to(dtype)
    for offset in (0.0, 1.0):
        close(rms_norm(x, weight, 1e-5, offset), reference.rms_norm(x.double(), weight.double(), 1e-5, offset))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norm_of_each_head_of_a_packed_row(dtype):
    packed, weight = torch.randn(7, 12, 40).to(dtype), torch.randn(40).to(dtype)
    out = rms_norm(packed[:, 3:9], weight, 1e-6)
    assert out.is_contiguous()
    close(out, reference.rms_norm(packed[:, 3:9].double(), weight.double(), 1e-6))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_add_rms_norm_norms_the_sum_that_it_keeps(width, dtype):
    x, residual, weight = (torch.randn(shape).to(dtype) for shape in ((40, width), (40, width), (width,)))
    before = residual.clone()
    normed, total = add_rms_norm(x, residual, weight, 1e-5, 1.0)
    assert torch.equal(total, x + residual)
    assert torch.equal(residual, before)
    close(normed, reference.rms_norm(total.double(), weight.double(), 1e-5, 1.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_smallest_numbers_are_kept(dtype):
    """A processor's own rounding to bfloat16 takes subnormal numbers for 0; ours does not."""
    x = (torch.arange(-40, 40) * 1.3e-40).to(dtype)[None]
    x[0, 7], x[0, 50] = 1e38, -3.0
    _, total = add_rms_norm(x, torch.zeros_like(x), torch.ones(80, dtype=dtype), 1e-5)
    assert torch.equal(total, x)
    assert total[0, 20] != 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("head_dim", "half"), [(64, 32), (80, 40), (96, 36), (128, 64), (6, 3), (256, 128)])
def test_rotary_is_transformers_rotate_half_and_leaves_the_rest(head_dim, half, dtype):
    packed = torch.randn(9, 8, head_dim).to(dtype)  # 4 heads of q, 2 of k, 2 of v
    angles = torch.rand(9, half) * 6
    before = packed.double()
    cos, sin = (torch.cat([part, part], -1)[:, None] for part in (angles.double().cos(), angles.double().sin()))
    turned = before[..., : 2 * half]
    rotated = turned * cos + torch.cat([-turned[..., half:], turned[..., :half]], -1) * sin
    expected = torch.cat([rotated, before[..., 2 * half :]], -1)
    rotary(packed[:, :4], packed[:, 4:6], angles.cos(), angles.sin())
    close(packed[:, :6].contiguous(), expected[:, :6])
    assert torch.equal(packed[:, 6:].double(), before[:, 6:])
    assert torch.equal(packed[..., 2 * half :].double(), before[..., 2 * half :])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 24, 4864])
@pytest.mark.parametrize("op", [silu_and_mul, gelu_tanh_and_mul])
def test_gates(op, width, dtype):
    x = (torch.randn(33, 2 * width) * 4).to(dtype)
    x[0, 0], x[1, 0] = -300.0, 300.0  # e^300 is no float32
    close(op(x), getattr(reference, op.__name__)(x.double()))


@pytest.mark.parametrize("op", [silu_and_mul, gelu_tanh_and_mul, lambda x: rms_norm(x, torch.ones(64), 1e-5)])
def test_a_nan_is_not_lost(op):
    x = torch.zeros(2, 64)
    x[1, 5] = float("nan")
    out = op(x)
    assert out[0].isfinite().all()
    assert out[1].isnan().any()


def test_what_does_not_fit_is_refused():
    x = torch.randn(3, 8)
    with pytest.raises(ValueError, match="weight must be"):
        rms_norm(x, torch.ones(7), 1e-5)
    with pytest.raises(ValueError, match="residual"):
        add_rms_norm(x, torch.randn(2, 8), torch.ones(8), 1e-5)
    with pytest.raises(ValueError, match="2N"):
        silu_and_mul(x[:, :7])
    heads, angles = torch.randn(3, 2, 8), torch.rand(3, 5)
    with pytest.raises(ValueError, match="R <= head_dim"):
        rotary(heads, heads, angles, angles)
    with pytest.raises(ValueError, match="float32"):
        rotary(heads, heads, angles[:, :4].double(), angles[:, :4].double())
