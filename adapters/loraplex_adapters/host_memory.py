"""Memory for adapters on the host, used again when they leave.

What the system hands out fresh costs a fault for every page at its first touch: of 18 MB, up to 80 ms of a core on a
virtual machine, three times what reading the adapter costs, and each fault holds up whoever else maps memory.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from collections import deque

import torch
from torch import Tensor

from loraplex_adapters.ranges import Ranges

PAGE = 4096


class HostMemory:
    """A block that buffers are cut from; each goes back by itself when the last tensor on it is gone.

    What does not fit any more, because the block is used up or in pieces, comes from torch instead.

    Args:
        nbytes: of the block; address space only, until it is used.
        claim: so many bytes are touched now, so that they can be neither missing nor slow later.

    Raises:
        OSError: there is not so much address space.
    """

    def __init__(self, nbytes: int, *, claim: int = 0) -> None:
        self._ranges = Ranges(nbytes // PAGE * PAGE)
        self._lock = threading.Lock()
        # Buffers can end anywhere, also inside of a call that holds the lock: they only leave a note here.
        self._ended: deque[tuple[int, int]] = deque()
        if not self._ranges.size:
            return
        self._block = _reserve(self._ranges.size)
        if claim:
            torch.frombuffer(self._block, dtype=torch.uint8)[:claim].zero_()

    @property
    def free(self) -> int:
        """Bytes of the block that no buffer has."""
        with self._lock:
            self._take_back()
            return self._ranges.free

    def buffer(self, nbytes: int) -> Tensor:
        """Uint8 `[nbytes]`, of any content."""
        length = -(-nbytes // PAGE) * PAGE
        with self._lock:
            self._take_back()
            offset = self._ranges.take(length) if length else None
        if offset is None:
            return torch.empty(nbytes, dtype=torch.uint8)
        # Held by the tensor's storage, and by nothing else.
        memory = (ctypes.c_uint8 * nbytes).from_buffer(self._block, offset)
        weakref.finalize(memory, self._ended.append, (offset, length)).atexit = False
        return torch.frombuffer(memory, dtype=torch.uint8)

    def _take_back(self) -> None:
        while self._ended:
            self._ranges.give_back(*self._ended.popleft())


def _reserve(nbytes: int) -> mmap.mmap:
    block = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)
    return block
