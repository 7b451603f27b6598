"""Pinned memory for adapters on their way to a GPU, used again when they have come, or kept on the host."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from loraplex_adapters.region import Region

logger = logging.getLogger(__name__)

# Pinning takes milliseconds and holds up whoever launches meanwhile, so it is done for several adapters at once. A
# power of two, as torch would round it up to one.
SLAB = 1 << 30


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
        self._slabs: list[Region] = []
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
            return sum(slab.free for slab in self._slabs)

    def buffer(self, nbytes: int) -> Tensor:
        """Uint8 `[nbytes]`, of any content."""
        cut = None
        if 0 < nbytes <= self._slab:
            with self._lock:
                cut = self._cut(nbytes)
        return torch.empty(nbytes, dtype=torch.uint8) if cut is None else cut

    def _cut(self, nbytes: int) -> Tensor | None:
        for slab in self._slabs:
            cut = slab.cut(nbytes)
            if cut is not None:
                return cut
        if len(self._slabs) == self._most or not self._add():
            return None
        return self._slabs[-1].cut(nbytes)

    def _add(self) -> bool:
        """One more slab, or no more ever."""
        try:
            memory = self._pinned(self._slab)
        except RuntimeError as refused:
            self._most = len(self._slabs)
            logger.warning("adapters have %d bytes of pinned memory, and get no more: %s", self.nbytes, refused)
            return False
        self._slabs.append(Region(memory))
        return True
