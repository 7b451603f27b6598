"""Asking the system for large memory pages."""

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
    start = -(-tensor.data_ptr() // _HUGE_PAGE) * _HUGE_PAGE
    length = (tensor.data_ptr() + tensor.nbytes - start) // _HUGE_PAGE * _HUGE_PAGE
    if length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
