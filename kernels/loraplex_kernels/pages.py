"""What the system is told about pages of memory."""

from __future__ import annotations

import ctypes
import mmap
import sys

from torch import Tensor

_HUGE_PAGE = 2 << 20


def advise_huge_pages(tensor: Tensor) -> None:
    """Have the whole huge pages inside a CPU tensor backed by such, before it is first written.

    With pages of 4 KB, reading blocks scattered over gigabytes costs a walk through the page table for nearly each one,
    and reading weights in a stream stops the processor's look-ahead at each page's end.
    The system may decline; nothing but speed depends on it.
    """
    if tensor.device.type != "cpu" or not sys.platform.startswith("linux"):
        return
    advise(tensor, _HUGE_PAGE, mmap.MADV_HUGEPAGE)


def advise(tensor: Tensor, page: int, advice: int) -> None:
    """madvise(2) for the whole pages inside a CPU tensor, on Linux.

    Args:
        tensor: contiguous.
        page: bytes of one.
        advice: one of mmap's MADV constants.
    """
    start = -(-tensor.data_ptr() // page) * page
    length = (tensor.data_ptr() + tensor.nbytes) // page * page - start
    if length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), advice)
