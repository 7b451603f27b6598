"""Rounding A and B to int8."""

from __future__ import annotations

import pytest
import torch

from loraplex_kernels import native
from loraplex_kernels.lora import quantize_rows

PATHS = [*(native.variants() or ["none"]), "torch"]


@pytest.fixture(params=PATHS)
def path(request, use):
    use(request.param)


def quantized(rows):
    target = torch.full(rows.shape, 99, dtype=torch.int8)
    return target, quantize_rows(rows, target)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("shape", [(1, 1), (3, 15), (16, 16), (7, 17), (2, 1000), (0, 8), (4, 0)])
def test_no_element_is_off_by_more_than_half_a_step(shape):
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 0.02
    target, scale = quantized(rows)
    if rows.numel():
        assert torch.equal(scale, rows.abs().amax(dim=1) / 127)
        assert (target.abs().amax(dim=1) == 127).all()
    assert ((target * scale[:, None] - rows).abs() <= 0.5001 * scale[:, None]).all()


@pytest.mark.usefixtures("path")
def test_halves_go_to_the_even_number_and_signs_are_alike():
    rows = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5]])
    target, scale = quantized(rows)
    assert scale.tolist() == [1.0]
    assert target.tolist() == [[127, 0, 2, 2, 0, -2, -2, 126, -126]]


@pytest.mark.usefixtures("path")
def test_a_row_of_zeros_has_the_scale_0():
    tiny = torch.finfo(torch.float32).tiny
    target, scale = quantized(torch.tensor([[0.0, -0.0], [tiny, 0.0], [tiny * 127, 0.0], [3e38, -3e38]]))
    assert scale.tolist()[:3] == [0.0, 0.0, tiny]
    assert target.tolist() == [[0, 0], [0, 0], [127, 0], [127, -127]]


def test_all_builds_round_alike(use):
    rows = torch.randn(9, 333, generator=torch.Generator().manual_seed(2))
    found = []
    for name in PATHS:
        use(name)
        found.append(quantized(rows))
    assert all(torch.equal(target, found[0][0]) and torch.equal(scale, found[0][1]) for target, scale in found)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="does not round"):
        quantize_rows(torch.zeros(2, 3), torch.zeros(3, 2, dtype=torch.int8))
    with pytest.raises(ValueError, match="does not round"):
        quantize_rows(torch.zeros(2, 3, dtype=torch.bfloat16), torch.zeros(2, 3, dtype=torch.int8))
    with pytest.raises(ValueError, match="contiguous"):
        quantize_rows(torch.zeros(3, 2).t(), torch.zeros(2, 3, dtype=torch.int8))
