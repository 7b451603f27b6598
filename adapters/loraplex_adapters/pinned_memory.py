"""Pinned memory for adapters on their way to a GPU, used again when they have come, or kept on the host."""

from __future__ import annotations

import ctypes
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from loraplex_adapters.ranges import Ranges

logger = logging.getLogger(__name__)

PAGE = 4096
# Pinning takes milliseconds and holds up whoever launches meanwhile, so it is done for several adapters at once. A
# power of two, as torch would round it up to one.
SLAB = 1 << 30


@dataclass(frozen=True, eq=False)
class _Slab:
    memory: Tensor  # uint8, pinned
    ranges: Ranges


class PinnedMemory:
    """Slabs of pinned memory that buffers are cut from; each goes back by itself when the last tensor on it is gone.

    What would go over the limit, or is too large for a slab of its own, is pageable: copies then take longer on the
    loader's thread, and nothing else changes. So is what the system refuses to pin, as where a container's limit is
    near: that is logged, and not asked for again.

    Args:
        limit: bytes that are pinned at most, rounded up to whole slabs.
        claim: so many bytes are pinned now, rounded up likewise; at least one slab is.
        slab: bytes that are pinned together.
        pinned: gives uint8 `[n]` of pinned memory, or raises RuntimeError.

    Raises:
        ValueError: what is claimed cannot be pinned.
    """

    def __init__(
        self, limit: int, *, claim: int = 0, slab: int = SLAB, pinned: Callable[[int], Tensor] | None = None
    ) -> None:
        self._pinned = pinned or partial(torch.empty, dtype=torch.uint8, pin_memory=True)
        self._slab = slab
        self._most = -(-limit // slab)
        self._lock = threading.Lock()
        # Buffers can end anywhere, also inside of a call that holds the lock: they only leave a note here.
        self._ended: deque[tuple[_Slab, int, int]] = deque()
        self._slabs: list[_Slab] = []
        claimed = min(-(-claim // slab), self._most)
        while len(self._slabs) < min(max(claimed, 1), self._most):
            self._add()
        if len(self._slabs) < claimed:
            raise ValueError(f"of {claim} bytes of host memory for adapters, the system pins only {self.nbytes}")

    @property
    def nbytes(self) -> int:
        """Bytes that are pinned."""
        return len(self._slabs) * self._slab

    @property
    def free(self) -> int:
        """Bytes of these that no buffer has."""
        with self._lock:
            self._take_back()
            return sum(slab.ranges.free for slab in self._slabs)

    def buffer(self, nbytes: int) -> Tensor:
        """Uint8 `[nbytes]`, of any content."""
        length = -(-nbytes // PAGE) * PAGE
        found = None
        if 0 < length <= self._slab:
            with self._lock:
                self._take_back()
                found = self._take(length)
        if found is None:
            return torch.empty(nbytes, dtype=torch.uint8)
        slab, offset = found
        # A storage of its own, whose end is the buffer's; the note that it leaves holds the slab until then.
        memory = (ctypes.c_uint8 * nbytes).from_address(slab.memory.data_ptr() + offset)
        weakref.finalize(memory, self._ended.append, (slab, offset, length)).atexit = False
        return torch.frombuffer(memory, dtype=torch.uint8)

    def _take(self, length: int) -> tuple[_Slab, int] | None:
        for slab in self._slabs:
            offset = slab.ranges.take(length)
            if offset is not None:
                return slab, offset
        if len(self._slabs) == self._most or not self._add():
            return None
        added = self._slabs[-1]
        offset = added.ranges.take(length)
        return None if offset is None else (added, offset)

    def _add(self) -> bool:
        """One more slab, or no more ever."""
        try:
            memory = self._pinned(self._slab)
        except RuntimeError as refused:
            self._most = len(self._slabs)
            logger.warning("adapters have %d bytes of pinned memory, and get no more: %s", self.nbytes, refused)
            return False
        self._slabs.append(_Slab(memory, Ranges(self._slab)))
        return True

    def _take_back(self) -> None:
        while self._ended:
            slab, offset, length = self._ended.popleft()
            slab.ranges.give_back(offset, length)
