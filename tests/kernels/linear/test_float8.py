"""W8A8 in e4m3; torch multiplies eight-bit floats on the CPU too, so only the rounding kernel needs a GPU."""

from __future__ import annotations

import pytest
import torch
from support.random_forms import float8, ints

from loraplex_kernels.linear.float8 import Float8Weight
from loraplex_kernels.linear.float8_rounding import round_rows_float8_naive

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def device(request):
    if request.param == "cuda" and not (torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 9)):
        pytest.skip("needs a CUDA device that multiplies eight-bit floats")
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("rows", [1, 48, 20])
@pytest.mark.parametrize("input_scale", [None, 0.02])
def test_it_serves_what_it_says_it_serves(device, dtype, rows, input_scale):
    form = float8(48, 64, rows, 64, input_scale)
    if device.type == "cuda" and not Float8Weight.supported(form, dtype, device):
        pytest.skip(f"torch does not multiply to {dtype} on this card")
    weight = Float8Weight(form, dtype, device)
    assert torch.equal(weight.dequantized().cpu(), form.dequantized())
    for count in (1, 7, 33):
        x, bias = torch.randn(count, 64).to(device, dtype), torch.randn(48).to(device, dtype)
        values, scale = round_rows_float8_naive(x, input_scale)
        rounded = values.double() * scale.double()
        expected = rounded @ form.dequantized().double().to(device).t()
        terms = rounded.abs() @ form.dequantized().double().abs().to(device).t()
        for y, wanted in ((weight(x), expected), (weight(x, bias), expected + bias.double())):
            assert y.dtype == dtype
            allowed = (2**-8 if dtype == torch.bfloat16 else 2**-10) * wanted.abs() + 1e-5 * terms
            assert ((y.double() - wanted).abs() <= allowed).all()


def test_no_rows_give_no_rows(device):
    weight = Float8Weight(float8(48, 64, 1, 64), torch.bfloat16, device)
    assert weight(torch.randn(0, 64).to(device, torch.bfloat16)).shape == (0, 48)


def test_it_keeps_nothing_but_the_bits_and_a_scale_each(device):
    weight = Float8Weight(float8(48, 64, 48, 64), torch.bfloat16, device)
    assert weight.nbytes == 48 * 64 + 48 * 4


@pytest.mark.parametrize(
    ("form", "dtype"),
    [
        (float8(48, 60, 1, 60), torch.bfloat16),
        (float8(40, 64, 1, 64), torch.bfloat16),
        (float8(128, 256, 128, 128), torch.bfloat16),
        (float8(48, 64, 1, 64), torch.float32),
    ],
    ids=["inputs", "outputs", "tiles", "float32"],
)
def test_what_no_card_multiplies_is_refused(form, dtype):
    with pytest.raises(ValueError, match="no eight-bit product"):
        Float8Weight(form, dtype, torch.device("cpu"))


def test_a_cpu_and_other_forms_are_left_to_others():
    assert not Float8Weight.supported(float8(48, 64, 1, 64), torch.bfloat16, torch.device("cpu"))
    assert not Float8Weight.supported(ints(48, 64, 64), torch.bfloat16, torch.device("cuda"))


@pytest.mark.parametrize(
    ("capability", "cuda", "dtypes"),
    [
        ((8, 0), "13.0", []),
        ((8, 9), "13.0", [torch.bfloat16]),
        ((9, 0), "13.0", [torch.bfloat16, torch.float16]),
        ((9, 0), "12.10", [torch.bfloat16, torch.float16]),
        ((9, 0), "12.8", [torch.bfloat16]),
        ((10, 0), "13.0", [torch.bfloat16]),
        ((12, 0), "13.0", []),
        ((9, 4), None, []),
    ],
    ids=str,
)
def test_a_card_gets_only_what_torch_multiplies_on_it_rightly(capability, cuda, dtypes, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    form, device = float8(48, 64, 1, 64), torch.device("cuda")
    halves = (torch.bfloat16, torch.float16)
    assert [dtype for dtype in halves if Float8Weight.supported(form, dtype, device)] == dtypes


def test_a_row_of_zeros_stays_zeros():
    values, scale = round_rows_float8_naive(torch.zeros(2, 8), None)
    assert not values.float().any()
    assert scale.isfinite().all()
