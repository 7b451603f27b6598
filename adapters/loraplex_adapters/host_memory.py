"""Memory for adapters on the host, used again when they leave.

What the system hands out fresh costs a fault for every page at its first touch: of 18 MB, up to 80 ms of a core on a
virtual machine, three times what reading the adapter costs, and each fault holds up whoever else maps memory.
"""

from __future__ import annotations

import mmap

import torch
from torch import Tensor

from loraplex_adapters.page import PAGE
from loraplex_adapters.region import Region


class HostMemory:
    """One region for all adapters.

    What does not fit any more, because the region is used up or in pieces, comes from torch instead.

    Args:
        nbytes: of the region; address space only, until it is used.
        claim: so many bytes are touched now, so that they can be neither missing nor slow later.

    Raises:
        OSError: there is not so much address space.
    """

    def __init__(self, nbytes: int, *, claim: int = 0) -> None:
        memory = _reserve(nbytes // PAGE * PAGE)
        memory[:claim].zero_()
        self._region = Region(memory)

    @property
    def free(self) -> int:
        """Bytes of the region that no buffer has."""
        return self._region.free

    def buffer(self, nbytes: int) -> Tensor:
        """Uint8 `[nbytes]`, of any content."""
        cut = self._region.cut(nbytes) if nbytes else None
        return torch.empty(nbytes, dtype=torch.uint8) if cut is None else cut


def _reserve(nbytes: int) -> Tensor:
    """Uint8 `[nbytes]`, which holds the mapping that it lies in."""
    if not nbytes:
        return torch.empty(0, dtype=torch.uint8)
    block = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(block, dtype=torch.uint8)
