"""Memory is pinned in slabs, a few times at all, and buffers give back their part when their last view is gone."""

from __future__ import annotations

import gc
import threading

import pytest
import torch
from torch import Tensor

from loraplex_adapters.page import PAGE
from loraplex_adapters.pinned_memory import PinnedMemory

SLAB = 4 * PAGE


class Pinning:
    """Plain memory in the place of pinned."""

    def __init__(self) -> None:
        self.slabs: list[Tensor] = []

    def __call__(self, nbytes: int) -> Tensor:
        self.slabs.append(torch.zeros(nbytes, dtype=torch.uint8))
        return self.slabs[-1]

    def has(self, buffer: Tensor) -> bool:
        return any(0 <= buffer.data_ptr() - slab.data_ptr() < len(slab) for slab in self.slabs)


def memory(slabs: int, claim: int = 0) -> tuple[PinnedMemory, Pinning]:
    pinning = Pinning()
    return PinnedMemory(slabs * SLAB, claim=claim * SLAB, slab=SLAB, pinned=pinning), pinning


def test_one_slab_is_pinned_at_the_start_and_more_when_it_is_full() -> None:
    target, pinning = memory(3)
    assert len(pinning.slabs) == 1
    buffers = [target.buffer(2 * PAGE) for _ in range(6)]
    assert len(pinning.slabs) == 3
    assert all(pinning.has(buffer) for buffer in buffers)
    assert target.nbytes == 3 * SLAB
    assert target.free == 0


def test_what_is_claimed_is_pinned_at_once() -> None:
    assert len(memory(5, claim=3)[1].slabs) == 3
    assert len(memory(2, claim=3)[1].slabs) == 2


def test_memory_that_came_back_is_used_again_and_nothing_is_pinned_for_it() -> None:
    target, pinning = memory(2)
    for _ in range(20):
        buffer = target.buffer(3 * PAGE)
        address = buffer.data_ptr()
        view = buffer[64:128].view(torch.float32)
        del buffer
        assert target.free == PAGE  # a view is enough to hold it
        del view
        assert target.free == SLAB
        assert target.buffer(3 * PAGE).data_ptr() == address
    assert len(pinning.slabs) == 1


@pytest.mark.parametrize("nbytes", [SLAB + 1, 10 * SLAB])
def test_what_no_slab_holds_is_pageable(nbytes: int) -> None:
    target, pinning = memory(3)
    buffer = target.buffer(nbytes)
    assert len(buffer) == nbytes
    assert not pinning.has(buffer)
    assert target.free == SLAB


def test_over_the_limit_it_is_pageable_until_something_comes_back() -> None:
    target, pinning = memory(1)
    held = target.buffer(SLAB)
    assert not pinning.has(target.buffer(1))
    del held
    assert pinning.has(target.buffer(1))


def test_no_pinned_memory_at_all() -> None:
    target, pinning = memory(0)
    assert len(target.buffer(100)) == 100
    assert pinning.slabs == []


def test_what_the_system_does_not_pin_is_pageable_and_not_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    pinning, asked = Pinning(), 0

    def refusing(nbytes: int) -> Tensor:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise RuntimeError("CUDA error: out of memory")
        return pinning(nbytes)

    target = PinnedMemory(3 * SLAB, slab=SLAB, pinned=refusing)
    held = target.buffer(SLAB)
    assert not any(pinning.has(target.buffer(PAGE)) for _ in range(3))
    assert asked == 2
    assert "out of memory" in caplog.text
    del held
    assert pinning.has(target.buffer(PAGE))


def test_a_claim_that_cannot_be_pinned_is_an_error() -> None:
    def refusing(_: int) -> Tensor:
        raise RuntimeError("CUDA error: out of memory")

    with pytest.raises(ValueError, match=f"of {2 * SLAB} bytes of host memory for adapters, the system pins only 0"):
        PinnedMemory(3 * SLAB, claim=2 * SLAB, slab=SLAB, pinned=refusing)
    assert len(PinnedMemory(3 * SLAB, slab=SLAB, pinned=refusing).buffer(PAGE)) == PAGE


def test_an_empty_buffer_takes_nothing() -> None:
    target, _ = memory(1)
    assert len(target.buffer(0)) == 0
    assert target.free == SLAB


def test_buffers_do_not_overlap_whoever_asks() -> None:
    target, _ = memory(70)
    found: list[list[Tensor]] = [[] for _ in range(4)]

    def take(number: int) -> None:
        for place in range(100):
            found[number].append(target.buffer(PAGE).fill_(number))
            if place % 3 == 0:
                found[number].pop(0)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(buffer.eq(number).all() for number, buffers in enumerate(found) for buffer in buffers)
    assert target.nbytes - target.free == sum(map(len, found)) * PAGE


def test_a_buffer_outlives_the_memory_that_gave_it() -> None:
    target, pinning = memory(1)
    buffer = target.buffer(PAGE)
    del target
    pinning.slabs.clear()
    gc.collect()
    buffer.fill_(3)
    assert buffer.eq(3).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_buffers_are_pinned() -> None:
    buffer = PinnedMemory(1 << 20, slab=1 << 20).buffer(1000)
    assert buffer.is_pinned()
