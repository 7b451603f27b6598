"""Processes that compute one model together, each on a device of its own: what they exchange within a step."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Group(Protocol):
    """The ranks of one model, seen from one of them. All of them make the same calls in the same order.

    On a GPU nothing here waits for the device: calls are queued on the current stream, and graphs may capture them.
    """

    @property
    def rank(self) -> int:
        """Of this process, in `[0, size)`."""

    @property
    def size(self) -> int:
        """Number of processes."""

    def all_reduce(self, x: Tensor) -> None:
        """Semantics: `x = sum over ranks of x`, in place; contiguous, floating point, of the same shape on all."""

    def all_gather(self, x: Tensor) -> Tensor:
        """Semantics: `[size, *x.shape]`, the tensors of all ranks in their order; contiguous, of the same shape."""

    def broadcast(self, x: Tensor) -> None:
        """Semantics: `x = x of rank 0`, in place; contiguous, of the same shape and dtype on all."""

    def close(self) -> None:
        """Leave; no rank may call anything after."""


class Alone:
    """A group of one, which exchanges nothing."""

    rank = 0
    size = 1

    def all_reduce(self, x: Tensor) -> None:
        """See `Group.all_reduce`."""

    def all_gather(self, x: Tensor) -> Tensor:
        """See `Group.all_gather`."""
        return x[None]

    def broadcast(self, x: Tensor) -> None:
        """See `Group.broadcast`."""

    def close(self) -> None:
        """See `Group.close`."""


ALONE = Alone()
