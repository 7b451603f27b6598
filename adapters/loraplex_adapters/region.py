"""A piece of memory that buffers are cut from; each goes back by itself when the last tensor on it is gone."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import deque

import torch
from torch import Tensor

from loraplex_adapters.page import whole_pages
from loraplex_adapters.ranges import Ranges


class Region:
    """Args: memory: uint8 `[n]` on the host, n a multiple of `page.PAGE`; kept as long as a buffer of it is."""

    def __init__(self, memory: Tensor) -> None:
        self._memory = memory
        self._ranges = Ranges(memory.numel())
        self._lock = threading.Lock()
        # Buffers can end anywhere, also inside of a call that holds the lock: they only leave a note here.
        self._ended: deque[tuple[int, int]] = deque()

    @property
    def free(self) -> int:
        """Bytes that no buffer has."""
        with self._lock:
            self._take_back()
            return self._ranges.free

    def cut(self, nbytes: int) -> Tensor | None:
        """Uint8 `[nbytes]`, at least 1, of any content; None where no free part is that long."""
        length = whole_pages(nbytes)
        with self._lock:
            self._take_back()
            offset = self._ranges.take(length)
        if offset is None:
            return None
        # A storage of its own, whose end is the buffer's; the note that it leaves holds the region until then.
        memory = (ctypes.c_uint8 * nbytes).from_address(self._memory.data_ptr() + offset)
        weakref.finalize(memory, self._note, offset, length).atexit = False
        return torch.frombuffer(memory, dtype=torch.uint8)

    def _note(self, offset: int, length: int) -> None:
        self._ended.append((offset, length))

    def _take_back(self) -> None:
        while self._ended:
            self._ranges.give_back(*self._ended.popleft())
