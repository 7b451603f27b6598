"""What was recorded computes again what running it would; what could not be replayed is refused."""

from __future__ import annotations

import gc
import threading

import pytest
import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.launch import empty, exchange, recorded_by
from loraplex_kernels.linear.packed import PackedWeight
from loraplex_kernels.ops import add_rms_norm, rms_norm, silu_and_mul
from loraplex_kernels.tape import Arena, NotRecordableError, record
from loraplex_kernels.tape.recorder import _Recorder

pytestmark = pytest.mark.skipif(native.library() is None, reason=native.status())


class Block:
    """Norms, linears and a gate, over and over."""

    def __init__(self, depth: int = 6, width: int = 64) -> None:
        torch.manual_seed(0)
        self.norm = torch.rand(width)
        self.wide = PackedWeight(torch.randn(2 * width, width) / 8)
        self.back = PackedWeight(torch.randn(width, width) / 8)
        self.depth = depth

    def __call__(self, x: Tensor) -> Tensor:
        y, residual = rms_norm(x, self.norm, 1e-6), x
        for _ in range(self.depth):
            heads = self.back(silu_and_mul(self.wide(y))).view(len(x), 2, -1)
            one, other = heads.split_with_sizes([1, 1], dim=1)
            assert one.data_ptr() != other.data_ptr()
            y, residual = add_rms_norm(heads.view(len(x), -1), residual, self.norm, 1e-6)
        return y


def test_a_replay_computes_what_running_it_would() -> None:
    block, x = Block(), torch.randn(5, 64)
    tape, y = record(lambda: block(x), Arena())
    assert len(tape) == 1 + 4 * block.depth
    for seed in range(3):
        x.copy_(torch.randn(5, 64, generator=torch.Generator().manual_seed(seed)))
        tape.run()
        assert torch.equal(y, block(x))


def test_what_is_exchanged_between_kernels_is_so_in_every_replay_and_holds_no_memory() -> None:
    arena, x, block = Arena(), torch.randn(5, 64), Block(8)
    others = [1.0]

    def add(y: Tensor) -> None:
        y.numpy()[...] += others[0]  # as another process would

    def run() -> Tensor:
        y = x
        for _ in range(4):
            y = block(y)
            exchange(add, y)
        return y

    record(lambda: block(x), arena)
    once = arena.nbytes
    tape, y = record(run, arena)
    assert arena.nbytes == once
    for others[0] in (1.0, 3.0):
        x.copy_(torch.randn(5, 64))
        tape.run()
        assert torch.equal(y, run())


def test_memory_is_used_again_within_a_recording_and_by_the_next() -> None:
    arena, x, few, many = Arena(), torch.randn(64, 64), Block(2), Block(200)
    shallow, y = record(lambda: few(x), arena)
    once = arena.nbytes
    deep, z = record(lambda: many(x), arena)
    assert arena.nbytes == once
    for tape, out, block in ((shallow, y, few), (deep, z, many), (shallow, y, few)):
        tape.run()
        assert torch.equal(out, block(x))


def test_a_view_keeps_its_memory_and_nothing_alive_overlaps() -> None:
    arena = Arena()
    arena.rewind()
    generator = torch.Generator().manual_seed(1)
    alive: list[tuple[Tensor, int]] = []
    for value in range(400):
        size = int(torch.randint(1, 40_000, (1,), generator=generator))
        made = arena.empty((size, 2), torch.int32).fill_(value)
        alive.append((made.view(-1)[1:], value))  # the tensor itself goes
        del made
        if len(alive) > 12:
            del alive[int(torch.randint(0, len(alive), (1,), generator=generator))]
        assert all(bool((view == value).all()) for view, value in alive)
    gc.collect()
    assert arena.nbytes < 16 << 20


def test_what_an_earlier_recording_kept_is_not_given_away_when_it_dies() -> None:
    arena = Arena()
    arena.rewind()
    old = arena.empty((1000,), torch.float32)
    arena.rewind()
    new = arena.empty((1000,), torch.float32)
    del old
    assert arena.empty((1000,), torch.float32).data_ptr() != new.data_ptr()


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x + 1,
        lambda x: x.mul_(2),
        lambda x: x.t().contiguous(),
        lambda x: torch.empty(3),
        lambda x: x.to(torch.bfloat16),
        lambda x: bool(x[0, 0] > 0),
        lambda x: x[0, 0].item(),
    ],
)
def test_what_torch_computes_is_refused(compute) -> None:
    x = torch.ones(4, 64)
    with pytest.raises(NotRecordableError, match="aten"):
        record(lambda: compute(x), Arena())


def test_what_is_refused_was_run_to_its_end_once() -> None:
    """Another process may have recorded the same step: all that is exchanged with it is so as often as there."""
    block, x = Block(), torch.randn(5, 64)
    exchanged: list[Tensor] = []

    def run() -> Tensor:
        y = block(x)
        exchange(exchanged.append, y)
        y = block(y + 1)
        exchange(exchanged.append, y)
        return y

    with pytest.raises(NotRecordableError, match=r"aten\.add") as refusal:
        record(run, Arena())
    assert len(exchanged) == 2
    assert torch.equal(refusal.value.result, block(block(x) + 1))


@pytest.mark.parametrize("look", [lambda x: x.view(-1), lambda x: x[:2], lambda x: x.contiguous(), lambda x: x.t()])
def test_what_only_looks_is_not(look) -> None:
    x = torch.ones(4, 64)
    with torch.inference_mode():
        assert len(record(lambda: look(x), Arena())[0]) == 0


def test_other_threads_are_not_recorded() -> None:
    block, x = Block(), torch.randn(2, 64)

    def both() -> Tensor:
        other = threading.Thread(target=block, args=(x,))
        other.start()
        other.join()
        return block(x)

    assert len(record(both, Arena())[0]) == 1 + 4 * block.depth


def test_a_recording_in_a_recording_is_refused_and_one_that_fails_leaves_nothing() -> None:
    with pytest.raises(RuntimeError, match="two recordings"):
        record(lambda: record(lambda: None, Arena()), Arena())
    with recorded_by(_Recorder(Arena())):
        pass
    assert empty(2, 3).shape == (2, 3)
