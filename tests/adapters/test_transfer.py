"""Copies to a device and back: in the order of the streams, and without the host waiting."""

from __future__ import annotations

import time

import pytest
import torch

from loraplex_adapters.pinned_memory import PinnedMemory
from loraplex_adapters.transfer import own_stream, receive, send

CUDA = torch.device("cuda")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_on_a_cpu_the_buffer_is_the_hosts_own() -> None:
    host = torch.arange(100, dtype=torch.uint8)
    transfer = send(host, torch.device("cpu"))
    assert transfer.buffer is host
    assert transfer.done()


def busy(seconds: float) -> torch.cuda.Event:
    """Keep the default stream busy; the event is when it no longer is."""
    event = torch.cuda.Event()
    torch.cuda._sleep(int(seconds * 1e9))
    event.record()
    return event


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "pageable"])
def test_what_was_sent_arrives_and_comes_back(pinned: bool) -> None:
    memory = PinnedMemory((1 << 26) if pinned else 0, slab=1 << 26)
    for seed in range(20):  # the same memory, again and again
        host = memory.buffer((1 << 22) + seed)
        host.copy_(torch.randint(0, 256, host.shape, dtype=torch.uint8))
        expected = host.clone()
        transfer = send(host, CUDA)
        while not transfer.done():
            time.sleep(0.0001)
        host.fill_(0)
        assert torch.equal(transfer.buffer.cpu(), expected)
        assert torch.equal(receive(transfer.buffer, memory.buffer), expected)


@pytest.mark.gpu
@needs_cuda
def test_the_host_does_not_wait_for_the_device() -> None:
    host = PinnedMemory(1 << 26, slab=1 << 26).buffer(1 << 24)
    send(host, CUDA)  # streams and memory are made
    torch.cuda.synchronize()
    running = busy(0.5)
    transfer = send(host, CUDA)
    assert not running.query()
    torch.cuda.synchronize()
    assert transfer.done()


@pytest.mark.gpu
@needs_cuda
def test_a_copy_begins_behind_the_kernels_that_read_what_was_there_before() -> None:
    """The memory of a freed buffer is used again at once, while kernels that were launched before may still read it."""
    memory = PinnedMemory(1 << 26, slab=1 << 26)
    old = torch.full((1 << 22,), 7, dtype=torch.uint8, device=CUDA)
    address = old.data_ptr()
    seen = torch.empty_like(old)
    busy(0.2)
    seen.copy_(old)  # launched, not run
    del old
    transfer = send(memory.buffer(1 << 22).fill_(9), CUDA)
    torch.cuda.synchronize()
    assert transfer.buffer.data_ptr() == address, "the case did not come up"
    assert bool((seen == 7).all())
    assert bool((transfer.buffer == 9).all())


@pytest.mark.gpu
@needs_cuda
def test_memory_that_is_freed_under_a_running_copy_is_nobody_elses_until_it_is_over() -> None:
    memory = PinnedMemory(1 << 28, slab=1 << 28)
    hosts = [memory.buffer(1 << 24).fill_(1) for _ in range(4)]
    for _ in range(50):
        for host in hosts:
            send(host, CUDA)  # dropped at once, as when nobody waits for the adapter any more
        mine = torch.full((1 << 24,), 5, dtype=torch.uint8, device=CUDA)
        torch.cuda.synchronize()
        assert bool((mine == 5).all())


def test_on_a_cpu_there_is_no_stream_of_ones_own() -> None:
    with own_stream(torch.device("cpu")):
        assert torch.ones(3).sum() == 3


@pytest.mark.gpu
@needs_cuda
def test_a_loader_waits_for_itself_and_not_for_the_steps_that_were_launched() -> None:
    weight = torch.full((1 << 20,), 3.0, device=CUDA)
    torch.cuda.synchronize()
    with own_stream(CUDA):
        assert torch.cuda.current_stream(CUDA) != torch.cuda.default_stream(CUDA)
        (weight * 2).cpu()  # memory is made
        running = busy(0.5)
        assert bool(((weight * 2).cpu() == 6).all())
        assert not running.query()
        host = torch.zeros(1 << 20, dtype=torch.uint8).pin_memory()
        sent = send(host, CUDA)
    torch.cuda.synchronize()
    address = sent.buffer.data_ptr()
    del sent
    assert torch.empty(1 << 20, dtype=torch.uint8, device=CUDA).data_ptr() == address, "not of the model's pool"
