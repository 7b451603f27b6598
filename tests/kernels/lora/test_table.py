"""The table points at the adapters in memory, and keeps alive what it points at."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from loraplex_kernels.lora import AdapterTable, SiteShape, plan

CPU = torch.device("cpu")
SHAPES = [SiteShape(1, 8, 4, 2, 0.5), SiteShape(3, 8, 6, 5, 2.0, magnitude=True)]


@pytest.fixture
def layout():
    return plan(SHAPES, 4)


@pytest.fixture
def table():
    return AdapterTable(2, 4, torch.float32, CPU)


def buffer_for(layout):
    return torch.zeros(layout.nbytes, dtype=torch.uint8)


def test_a_row_holds_addresses_ranks_and_scales(table, layout):
    buffer = buffer_for(layout)
    table.install(1, layout, buffer)
    base, (first, second) = buffer.data_ptr(), layout.placements
    assert table.a[1].tolist() == [0, base + first.a, 0, base + second.a]
    assert table.b[1].tolist() == [0, base + first.b, 0, base + second.b]
    assert table.magnitude[1].tolist() == [0, 0, 0, base + second.magnitude]
    assert table.rank[1].tolist() == [0, 2, 0, 5]
    assert table.scale[1].tolist() == [0.0, 0.5, 0.0, 2.0]
    assert not table.a[0].any()
    assert table.highest_rank([0]) == 0
    assert table.highest_rank([0, 1]) == 5


def test_a_cell_is_a_view_of_the_buffer(table, layout):
    table.install(0, layout, buffer_for(layout))
    table.weights(0, 3).b.fill_(7)
    assert (table.weights(0, 3).b == 7).all()
    assert table.weights(0, 2) is None
    assert table.weights(1, 3) is None


def test_the_table_keeps_a_buffer_until_its_row_is_cleared(table, layout):
    buffer = buffer_for(layout)
    gone = weakref.ref(buffer)
    table.install(0, layout, buffer)
    del buffer
    assert table.weights(0, 1) is not None
    assert gone() is not None
    table.clear(0)
    gc.collect()
    assert gone() is None
    assert table.weights(0, 1) is None
    assert not table.a.any()
    assert not table.rank.any()
    table.install(0, layout, buffer_for(layout))


def test_growing_keeps_the_rows(table, layout):
    table.install(1, layout, buffer_for(layout))
    before = table.a[1].clone()
    table.grow(5)
    assert table.slots == 5
    assert torch.equal(table.a[1], before)
    table.install(4, layout, buffer_for(layout))
    table.grow(3)
    assert table.slots == 5


def test_a_taken_row_and_a_buffer_that_does_not_fit_are_refused(table, layout):
    table.install(0, layout, buffer_for(layout))
    with pytest.raises(ValueError, match="slot 0 is taken"):
        table.install(0, layout, buffer_for(layout))
    with pytest.raises(ValueError, match="needs a uint8 buffer"):
        table.install(1, layout, buffer_for(layout)[:-1])
    with pytest.raises(ValueError, match="multiple of 64"):
        table.install(1, layout, torch.zeros(layout.nbytes + 4, dtype=torch.uint8)[4:])


def test_an_int8_table_holds_the_addresses_of_the_factors(layout):
    table, int8 = AdapterTable(1, 4, torch.bfloat16, CPU, int8=True), plan(SHAPES, 2, int8=True)
    with pytest.raises(ValueError, match="int8"):
        table.install(0, layout, buffer_for(layout))
    buffer = buffer_for(int8)
    table.install(0, int8, buffer)
    first, second = (buffer.data_ptr() + placement.factor for placement in int8.placements)
    assert table.factor[0].tolist() == [0, first, 0, second]
    assert table.weights(0, 3).factor.shape == (5,)
    table.clear(0)
    assert not table.factor.any()


def test_a_table_of_floats_takes_no_int8_adapter(table):
    int8 = plan(SHAPES, 4, int8=True)
    with pytest.raises(ValueError, match="not int8"):
        table.install(0, int8, buffer_for(int8))
