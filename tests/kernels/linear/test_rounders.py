"""Each rounder keeps what its form promises, and leaves no more error than it says."""

from __future__ import annotations

import pytest
import torch

from loraplex_kernels.linear.forms import Float8, GroupedInts, Lookup
from loraplex_kernels.linear.rounders import ROUNDERS, round_weight
from loraplex_kernels.linear.rounders import rounder as rounding
from loraplex_kernels.linear.rounders.nf4 import TABLE

# The largest root mean square of the error over that of the weight, for normal weights: as measured, a little above.
ERROR = {"int4": 0.1, "int4-32": 0.081, "nf4": 0.094, "int8-weight": 0.0085, "fp8": 0.0275}

each_form = pytest.mark.parametrize("form", ROUNDERS)


def relative(error: torch.Tensor, weight: torch.Tensor) -> float:
    return float((error.double().square().mean() / weight.double().square().mean()).sqrt())


@each_form
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_error_is_what_the_form_promises(form, dtype):
    weight = (torch.randn(96, 1024) * torch.rand(96, 1) * 0.1).to(dtype)
    served = round_weight(weight, form).dequantized()
    assert served.dtype == torch.float32
    assert relative(served - weight.float(), weight.float()) < ERROR[form]


@each_form
@pytest.mark.parametrize("block", [1, 300, 1 << 20])
def test_the_rows_are_rounded_each_for_itself_however_many_at_a_time(form, block, monkeypatch):
    weight = torch.randn(9, 128)
    whole = round_weight(weight, form).dequantized()
    monkeypatch.setattr(rounding, "_BLOCK", {"cpu": block})
    assert torch.equal(round_weight(weight, form).dequantized(), whole)
    assert torch.equal(round_weight(weight[4:5], form).dequantized(), whole[4:5])


@each_form
def test_zeros_stay_zeros_and_no_weight_becomes_none(form):
    weight = torch.randn(6, 256)
    weight[1], weight[2, :128] = 0, 0
    weight[3] *= 1e-30
    weight[4] *= 1e30
    weight[5] = weight[5].abs()
    served = round_weight(weight, form).dequantized()
    assert torch.isfinite(served).all()
    assert not served[1].any()
    assert not served[2, :128].any()
    for row in (0, 4, 5):
        assert relative(served[row] - weight[row], weight[row]) < 1.3 * ERROR[form]


@each_form
def test_a_constant_row_is_kept_but_for_the_scale(form):
    weight = torch.full((2, 128), 0.3)
    weight[1] = -5.0
    torch.testing.assert_close(round_weight(weight, form).dequantized(), weight, rtol=0.005, atol=0)


@pytest.mark.parametrize("form", [form for form in ROUNDERS if form != "nf4"])
@pytest.mark.parametrize("inputs", [1, 33, 192, 300])
def test_any_width_is_taken(form, inputs):
    weight = torch.randn(40, inputs)
    assert relative(round_weight(weight, form).dequantized() - weight, weight) < 1.1 * ERROR[form]


def test_four_bits_have_fewer_inputs_a_scale_or_a_zero_point_where_they_say_so():
    weight = torch.randn(8, 300)
    int4, int4_32 = round_weight(weight, "int4"), round_weight(weight, "int4-32")
    assert isinstance(int4, GroupedInts)
    assert isinstance(int4_32, GroupedInts)
    assert (int4.group, int4.bits, int4.zero, list(int4.scale.shape)) == (128, 4, None, [8, 3])
    assert (int4_32.group, int4_32.bits, list(int4_32.scale.shape)) == (32, 4, [8, 10])
    assert int4_32.zero is not None
    assert int(int4.codes.max()) <= 15
    assert int(int4_32.codes.max()) <= 15


def test_no_scale_of_a_finer_search_leaves_much_less_error_than_int4s():
    weight = torch.randn(64, 128) * 0.02
    chosen = (round_weight(weight, "int4").dequantized() - weight).square().sum(1)
    best = torch.full_like(chosen, torch.inf)
    extreme = weight.gather(1, weight.abs().argmax(1, keepdim=True))
    for clip in torch.linspace(0.4, 1.1, 200):
        for scale in (extreme * clip / -8, extreme * clip / 8):
            codes = (weight / scale).round().clamp(-8, 7)
            best = torch.minimum(best, (codes * scale - weight).square().sum(1))
    assert chosen.sum() <= 1.02 * best.sum()
    plain = weight.abs().amax(1, keepdim=True) / 7
    assert chosen.sum() < 0.75 * ((weight / plain).round() * plain - weight).square().sum()


def test_eight_bits_have_a_scale_an_output():
    weight = torch.randn(5, 70)
    int8, fp8 = round_weight(weight, "int8-weight"), round_weight(weight, "fp8")
    assert isinstance(int8, GroupedInts)
    assert (int8.bits, int8.group, list(int8.scale.shape)) == (8, 70, [5, 1])
    assert ((int8.dequantized() - weight).abs() <= 0.5001 * weight.abs().amax(1, keepdim=True) / 127).all()
    assert isinstance(fp8, Float8)
    assert (fp8.rows, fp8.columns, list(fp8.scale.shape)) == (1, 70, [5, 1])
    assert torch.equal(fp8.values.float().abs().amax(1), torch.full((5,), 448.0))


@pytest.mark.slow  # bitsandbytes takes its time to be imported
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nf4_is_bitsandbytes_own_to_the_last_bit(dtype):
    theirs = pytest.importorskip("bitsandbytes.functional")
    weight = (torch.randn(70, 192) * 0.02).to(dtype)
    weight[3, :64] = 0
    packed, state = theirs.quantize_4bit(weight, quant_type="nf4", blocksize=64)
    ours = round_weight(weight, "nf4")
    assert isinstance(ours, Lookup)
    assert torch.equal(ours.table, state.code)
    assert torch.equal(ours.absmax.view(-1), state.absmax)
    codes = torch.cat([packed.view(-1, 1) >> 4, packed.view(-1, 1) & 15], 1).view(weight.shape)
    assert torch.equal(ours.codes, codes)


def test_nf4_takes_the_papers_table_and_the_nearer_of_its_values():
    # Appendix E of QLoRA: the quantiles k / 16 of each half of a normal distribution, joined at zero, scaled to 1.
    normal = torch.distributions.Normal(0.0, 1.0)
    offset = 0.9677083
    upper = normal.icdf(torch.linspace(offset, 0.5, 9)[:-1])
    lower = -normal.icdf(torch.linspace(offset, 0.5, 8)[:-1])
    quantiles = torch.cat([upper, torch.zeros(1), lower]).sort().values
    torch.testing.assert_close(torch.tensor(TABLE), quantiles / quantiles.max(), rtol=0, atol=1e-6)
    weight = torch.randn(11, 128)
    form = round_weight(weight, "nf4")
    assert isinstance(form, Lookup)
    absmax = weight.view(11, 2, 64).abs().amax(2, keepdim=True)
    distance = (weight.view(11, 2, 64, 1) / absmax[..., None] - torch.tensor(TABLE)).abs()
    assert torch.equal(form.codes.view(11, 2, 64).long(), distance.argmin(3))
    assert torch.equal(form.absmax, absmax.squeeze(2))


def test_what_a_form_has_no_place_for_is_refused():
    with pytest.raises(ValueError, match=r"nf4 has a scale for every 64 inputs.*88"):
        round_weight(torch.randn(4, 88), "nf4")
    with pytest.raises(ValueError, match=r"rounded to one of int4, .*not to 'int3'"):
        round_weight(torch.randn(4, 64), "int3")
    for bad in (torch.nan, torch.inf):
        weight = torch.randn(4, 64)
        weight[2, 3] = bad
        with pytest.raises(ValueError, match="no numbers"):
            round_weight(weight, "int4")
