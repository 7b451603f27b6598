"""Buffers share a block, and give their part of it back when their last view is gone."""

import gc

import pytest
import torch

from loraplex_adapters.host_memory import HostMemory
from loraplex_adapters.page import PAGE


def test_buffers_do_not_overlap_and_hold_what_was_written() -> None:
    memory = HostMemory(16 * PAGE)
    buffers = [memory.buffer(n) for n in (100, PAGE, PAGE + 1)]
    for number, buffer in enumerate(buffers):
        assert buffer.dtype == torch.uint8
        buffer.fill_(number)
    assert [buffer.unique().tolist() for buffer in buffers] == [[0], [1], [2]]
    assert [len(buffer) for buffer in buffers] == [100, PAGE, PAGE + 1]
    assert memory.free == (16 - 4) * PAGE


def test_a_buffer_stays_as_long_as_a_view_of_it() -> None:
    memory = HostMemory(4 * PAGE)
    buffer = memory.buffer(PAGE)
    address = buffer.data_ptr()
    view = buffer[64:128].view(torch.float32).view(4, 4)
    view.fill_(1.5)
    del buffer
    assert memory.free == 3 * PAGE
    others = [memory.buffer(PAGE).fill_(0) for _ in range(3)]
    assert view.eq(1.5).all()
    del view
    assert memory.free == PAGE
    assert memory.buffer(PAGE).data_ptr() == address
    del others


def test_buffers_outlive_the_memory_that_gave_them() -> None:
    buffer = HostMemory(PAGE).buffer(PAGE)
    gc.collect()
    assert buffer.fill_(7).eq(7).all()


@pytest.mark.parametrize("size", [0, PAGE - 1, 2 * PAGE])
def test_what_does_not_fit_comes_from_elsewhere(size: int) -> None:
    memory = HostMemory(size)
    buffer = memory.buffer(3 * PAGE).fill_(1)
    assert len(buffer) == 3 * PAGE
    assert memory.free == size // PAGE * PAGE


def test_nothing_takes_nothing() -> None:
    memory = HostMemory(PAGE)
    assert len(memory.buffer(0)) == 0
    assert memory.free == PAGE


def test_claimed_memory_is_there_from_the_start() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * PAGE

    before = resident()
    lazy = HostMemory(64 << 20)
    assert resident() - before < 16 << 20
    claimed = HostMemory(64 << 20, claim=48 << 20)
    assert 40 << 20 < resident() - before < 64 << 20
    del lazy, claimed


def test_more_than_the_system_has_is_an_error_at_once() -> None:
    with pytest.raises(OSError, match="memory"):
        HostMemory(1 << 60)
