"""Memory that maps a file, given back while it is mapped."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from loraplex_kernels.pages import advise

MAPS = Path("/proc/self/maps")
# proc_pid_maps(5): address range, permissions, offset, device, inode, path.
_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r..p \S+ \S+ \d+ +(.*)")


class MappedFiles:
    """Where files are mapped in this process; nowhere, where the system does not tell.

    Args:
        files: mapped privately by now, and for as long as this is used.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        wanted = {os.path.realpath(file) for file in files}
        lines = MAPS.read_text(errors="surrogateescape").splitlines() if MAPS.exists() else []
        found = (_LINE.fullmatch(line) for line in lines)
        self._ranges = [(int(each[1], 16), int(each[2], 16)) for each in found if each and each[3] in wanted]

    def discard(self, tensor: Tensor) -> None:
        """Take the pages that lie wholly inside a tensor out of this process's memory.

        Whoever reads the tensor afterwards has the same values, from the file. One that is no view into the files
        stays as it is: its memory could not be filled again.

        Args:
            tensor: contiguous; nobody wrote to it.
        """
        first, last = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
        if any(start <= first and last <= end for start, end in self._ranges):
            advise(tensor, mmap.PAGESIZE, mmap.MADV_DONTNEED)


def trim_heap() -> None:
    """Give back what the C library keeps of freed memory, where that is glibc.

    Tensors of a few megabytes lie on its heap, and what is freed between two that stay is kept for the next one.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
