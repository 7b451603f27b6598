"""Terms at a linear: how much memory their way takes, however many rows they act on."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from loraplex_adapters.terms import Terms
from loraplex_kernels.linear.dense import DenseWeight
from loraplex_kernels.lora import SiteGroup
from loraplex_server.models.adapter_step import TermUse
from loraplex_server.models.linear import Linear
from loraplex_server.models.linear_terms import linear_moves

WIDTH, INPUTS, ROWS = 48, 256, 1300
GENERATOR = torch.Generator().manual_seed(2)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that an operation made."""

    def __init__(self):
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result._base is None:  # a view takes nothing
            self.found = max(self.found, result.numel())
        return result


@pytest.fixture
def linear():
    weight = torch.randn(WIDTH, INPUTS, generator=GENERATOR) / 16
    return Linear(DenseWeight(weight), None, SiteGroup((0,), (WIDTH,)))


@pytest.fixture
def x():
    return torch.randn(ROWS + 100, INPUTS, generator=GENERATOR)


def rotation(block):
    return torch.linalg.qr(torch.randn(INPUTS // block, block, block, generator=GENERATOR)).Q


def moved(linear, x, terms, rows):
    y = linear(x, None)
    with Largest() as largest:
        moves = list(linear_moves(linear, x, y, TermUse(terms, rows, 1.0)))
    for move in moves:
        move.add_to(y)
    return y, largest.found


@pytest.mark.parametrize("block", [4, 64, 256])
def test_a_rotation_is_not_copied_for_each_row(block, linear, x):
    turned, rows = rotation(block), torch.arange(3, 503)
    y, largest = moved(linear, x, Terms(rotation={0: turned}), rows)
    expected = linear(x, None)
    expected[rows] = linear(x[rows] @ torch.block_diag(*turned), None)
    torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-4)
    assert largest <= max(500 * INPUTS, turned.numel())


def test_what_is_computed_on_the_way_is_bounded_however_many_the_rows(linear, x):
    scale, bias = torch.rand(INPUTS, generator=GENERATOR), torch.randn(WIDTH, generator=GENERATOR)
    rows = torch.randperm(len(x), generator=GENERATOR)[:ROWS]
    terms = Terms(input_scale={0: scale}, bias={0: bias})
    y, largest = moved(linear, x, terms, rows)
    expected = linear(x, None)
    expected[rows] = linear(x[rows] * scale, None) + bias
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)
    assert largest <= 512 * INPUTS
