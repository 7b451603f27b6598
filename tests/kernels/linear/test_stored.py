"""Quantized weights without a kernel, and the choice between kernels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.tolerances import assert_near

from loraplex_kernels.linear import make_weight, stored
from loraplex_kernels.linear.forms import Float8, GroupedInts, WeightForm, tensors
from loraplex_kernels.linear.int4 import Int4Weight
from loraplex_kernels.linear.nibbles import pack, unpack
from loraplex_kernels.linear.registry import kernels
from loraplex_kernels.linear.rounders import ROUNDERS, round_weight
from loraplex_kernels.linear.serve import serve
from loraplex_kernels.linear.side_by_side import SideBySide
from loraplex_kernels.linear.stored import StoredWeight

CPU = torch.device("cpu")
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
DEVICES = [CPU, pytest.param(torch.device("cuda"), marks=[pytest.mark.gpu, NO_GPU])]
SHAPE = (70, 192)
# Bytes a weight, scales and all, of [70, 192].
BYTES = {
    "int4": 0.5 + 2 * 2 / 192,
    "int4-32": 0.5 + 2 * 2 / 32,
    "nf4": 0.5 + 4 / 64,
    "int8-weight": 1 + 4 / 192,
    "fp8": 1 + 4 / 192,
}


@pytest.fixture
def forms() -> dict[str, WeightForm]:
    rounded: dict[str, WeightForm] = {form: round_weight(torch.randn(SHAPE), form) for form in ROUNDERS}
    ordered = rounded["int4-32"]
    assert isinstance(ordered, GroupedInts)
    rounded["ordered"] = replace(ordered, order=torch.randperm(SHAPE[1]))
    values = torch.randn(SHAPE).to(torch.float8_e4m3fn)
    rounded["tiles"] = Float8(values, torch.rand(3, 2), 32, 100)
    return rounded


NAMES = [*ROUNDERS, "ordered", "tiles"]


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("block", [1, 7 * 192, 1 << 22])
def test_it_multiplies_by_the_weight_that_its_form_stands_for(name, dtype, device, block, forms, monkeypatch):
    monkeypatch.setattr(stored, "_BLOCK", block)
    form = forms[name]
    weight = StoredWeight(form, dtype, device)
    x, bias = torch.randn(5, 192, device=device).to(dtype), torch.randn(70, device=device).to(dtype)
    for given in (None, bias):
        exact = x.double() @ form.dequantized().to(device).double().t() + (0 if given is None else given.double())
        y = weight(x, given)
        assert y.dtype == dtype
        assert_near(y, exact, roundings=3)  # of weights before and after they are scaled
    assert torch.equal(weight.dequantized().cpu(), form.dequantized())


@pytest.mark.parametrize("name", ROUNDERS)
def test_it_takes_no_more_memory_than_the_format_promises(name, forms):
    weight = StoredWeight(forms[name], torch.bfloat16, CPU)
    assert weight.nbytes <= BYTES[name] * 70 * 192 + 64  # the table of nf4
    assert (weight.out_features, weight.in_features) == SHAPE


def test_what_does_not_fit_is_refused(forms):
    weight = StoredWeight(forms["int4"], torch.float32, CPU)
    for x, bias in [(torch.randn(2, 191), None), (torch.randn(2, 192).half(), None), (torch.randn(2, 192), bias_of(3))]:
        with pytest.raises(ValueError, match=r"must be torch\.float32"):
            weight(x, bias)


def bias_of(width: int) -> torch.Tensor:
    return torch.randn(width)


@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_of_a_form_can_be_cut_and_stacked_again(name, forms):
    form = forms[name]
    whole = form.dequantized()
    for first, last in ((0, 70), (3, 20), (32, 64), (69, 70)):
        assert torch.equal(form.slice(first, last).dequantized(), whole[first:last])
    parts = [form.slice(0, 40), form.slice(40, 41), form.slice(41, 70)]
    assert torch.equal(type(form).stack(parts).dequantized(), whole)


@pytest.mark.parametrize("inputs", [1, 2, 7, 64])
def test_four_bit_codes_come_back_from_their_bytes(inputs):
    codes = torch.randint(0, 16, (5, inputs), dtype=torch.uint8)
    assert pack(codes).shape == (5, (inputs + 1) // 2)
    assert torch.equal(unpack(pack(codes), inputs), codes)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_serves_a_form_serves_its_very_weight(name, forms):
    served = serve(forms[name], torch.float32, CPU)
    x = torch.randn(3, 192)
    torch.testing.assert_close(served.dequantized(), forms[name].dequantized(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(served(x), x @ forms[name].dequantized().t(), rtol=1e-4, atol=1e-4)


def test_four_bits_have_a_kernel_on_a_cpu_and_anything_else_is_unpacked(forms, use):
    assert isinstance(serve(forms["nf4"], torch.bfloat16, CPU), Int4Weight)
    assert isinstance(serve(forms["fp8"], torch.bfloat16, CPU), StoredWeight)
    assert isinstance(serve(forms["int4"], torch.float16, CPU), StoredWeight)
    use("torch")
    assert isinstance(serve(forms["int4"], torch.bfloat16, CPU), StoredWeight)


def test_a_gpu_has_a_kernel_for_every_kind_of_form(forms):
    names = [kernel.make.__name__ for kernel in kernels("cuda")]
    assert names == ["Float8Weight", "TritonGroupedWeight", "TritonLookupWeight", "TritonFloat8Weight"]
    for kernel in kernels("cuda"):  # asked of a device that none of them runs on
        assert not any(kernel.supported(form, torch.bfloat16, torch.device("meta")) for form in forms.values())
    assert kernels("meta") == ()


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize("name", NAMES)
def test_every_form_that_is_rounded_to_has_a_kernel_on_a_gpu(name, forms):
    device = torch.device("cuda")
    served = serve(forms[name], torch.bfloat16, device)
    assert isinstance(served, StoredWeight) == (name == "tiles")  # tiles of 100 inputs
    x = torch.randn(3, 192, device=device).bfloat16()
    exact = x.double() @ forms[name].dequantized().to(device).double().t()
    rounding = 0.1 if name == "fp8" else 1e-2  # activations too
    assert (served(x).double() - exact).abs().max() / exact.abs().max() < rounding


def test_a_forms_tensors_are_known_by_their_names(forms):
    assert set(tensors(forms["int4"])) == {"codes", "scale"}
    assert set(tensors(forms["ordered"])) == {"codes", "scale", "zero", "order"}


def test_linears_side_by_side_are_as_if_stacked(forms):
    parts = [serve(forms["int4"], torch.float32, CPU), make_weight(torch.randn(9, 192), "none", torch.float32, CPU)]
    both = SideBySide(parts)
    whole = torch.cat([part.dequantized() for part in parts])
    x, bias = torch.randn(4, 192), torch.randn(79)
    torch.testing.assert_close(both(x, bias), x @ whole.t() + bias, rtol=1e-4, atol=1e-4)
    assert torch.equal(both.dequantized(), whole)
    assert (both.out_features, both.in_features, both.nbytes) == (79, 192, sum(part.nbytes for part in parts))
    other = make_weight(torch.randn(9, 10), "none", torch.float32, CPU)
    for wrong in ([], [parts[0], other]):
        with pytest.raises(ValueError, match="share their input"):
            SideBySide(wrong)
