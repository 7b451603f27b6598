"""The ranks of one model as threads of this process: the same division and the same exchanges, without processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from loraplex_kernels.group import Group

T = TypeVar("T")


class ThreadRank:
    """One of them: see `loraplex_kernels.group.Group`."""

    def __init__(self, rank: int, size: int, barrier: threading.Barrier, shared: list[Tensor | None]) -> None:
        self.rank = rank
        self.size = size
        self._barrier = barrier
        self._shared = shared

    def all_gather(self, x: Tensor) -> Tensor:
        self._shared[self.rank] = x.clone()
        self._barrier.wait()
        gathered = torch.stack([part for part in self._shared if part is not None])
        self._barrier.wait()
        return gathered

    def all_reduce(self, x: Tensor) -> None:
        x.copy_(self.all_gather(x).sum(0))

    def broadcast(self, x: Tensor) -> None:
        x.copy_(self.all_gather(x)[0])

    def close(self) -> None:
        """Nothing to leave."""


def on_ranks(size: int, work: Callable[[Group], T]) -> list[T]:
    """Do the same on each of so many ranks; what each came to, or the first of their exceptions."""
    barrier = threading.Barrier(size)
    shared: list[Tensor | None] = [None] * size

    def run(rank: int) -> T:
        try:
            return work(ThreadRank(rank, size, barrier, shared))
        except BaseException:
            barrier.abort()  # the others wait for nobody
            raise

    with ThreadPoolExecutor(size) as pool:
        done = [pool.submit(run, rank) for rank in range(size)]
    failed = [error for each in done if (error := each.exception()) is not None]
    real = [error for error in failed if not isinstance(error, threading.BrokenBarrierError)]
    if failed:
        raise (real or failed)[0]
    return [each.result() for each in done]
