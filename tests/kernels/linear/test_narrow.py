"""A quantized weight cut to some of its inputs: exactly those columns of the whole, wherever groups begin."""

from __future__ import annotations

import pytest
import torch
from support.random_forms import CASES, float8, ints, lookup

CUTS = [(0, 128), (128, 256), (0, 96), (96, 256), (64, 192), (32, 33), (200, 256), (0, 256)]


@pytest.mark.parametrize(("first", "last"), CUTS)
@pytest.mark.parametrize("case", [case for case in CASES if "order" not in case])
def test_the_inputs_that_are_left_have_the_weights_that_they_had(case: str, first: int, last: int) -> None:
    torch.manual_seed(0)
    whole = CASES[case](6, 256)
    part = whole.narrow(first, last)
    assert part.shape == (6, last - first)
    assert torch.equal(part.dequantized(), whole.dequantized()[:, first:last])
    assert torch.equal(part.slice(2, 5).dequantized(), whole.dequantized()[2:5, first:last])


def test_a_last_group_that_is_shorter_stays_so() -> None:
    whole = ints(4, 200, 128, zero=True)
    part = whole.narrow(64, 200)
    assert part.group == 64
    assert torch.equal(part.dequantized(), whole.dequantized()[:, 64:200])


def test_groups_that_no_border_cuts_stay_as_they_are() -> None:
    assert ints(4, 256, 64).narrow(64, 192).group == 64
    assert lookup(4, 256, 64).narrow(128, 256).block == 64
    assert float8(4, 256, 2, 32).narrow(32, 96).columns == 32
    assert float8(4, 256, 1, 256).narrow(32, 96).columns == 64


def test_sorted_inputs_cannot_be_parted() -> None:
    with pytest.raises(ValueError, match="desc_act"):
        ints(4, 256, 32, order=True).narrow(0, 128)
