"""The one way into a compiled CPU kernel, and to the memory that it writes: so that a step can be recorded.

Every kernel of a step has the signature `int kernel(const struct its_own *arguments, int threads)` and returns 0, or
else there was no memory for what it needs itself, or, with OUTSIDE, an index is past the end of what it counts in.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

OUTSIDE = 2


class Recorder(Protocol):
    """Sees what one thread launches and allocates."""

    def launched(self, function: ctypes._NamedFuncPointer, arguments: ctypes.Structure, keep: object) -> None:
        """A kernel ran with these arguments, which their owner may change after this call."""

    def exchanged(self, function: Callable[[Tensor], None], x: Tensor) -> None:
        """A tensor was exchanged with other processes, between two kernels."""

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Memory for a kernel's output, or for what it keeps while it runs."""


_recorder: Recorder | None = None
_recording_thread = 0


def launch(function: ctypes._NamedFuncPointer, arguments: ctypes.Structure, keep: object = None) -> None:
    """Run a kernel on torch's threads.

    Args:
        function: of the library that `native.library()` is.
        arguments: its structure. The memory that it points to is a tensor's of `empty`, or else outlives the model's
            step: what a recorder may call again.
        keep: what else must live as long as the arguments do.

    Raises:
        MemoryError: there is none for the kernel's intermediate values.
        IndexError: an index in the memory that it reads is out of range.
    """
    status = function(ctypes.byref(arguments), torch.get_num_threads())
    if status == OUTSIDE:
        raise IndexError(f"{function.__name__}: an index is past the end of what it counts in")
    if status:
        raise MemoryError(f"no memory for what {function.__name__} keeps while it runs")
    if _recorder is not None and threading.get_ident() == _recording_thread:
        _recorder.launched(function, arguments, keep)


def exchange(function: Callable[[Tensor], None], x: Tensor) -> None:
    """Exchange a tensor with other processes, in its place among the kernels.

    Args:
        function: changes a tensor in place, and may be called again with another at the same place in memory.
        x: contiguous; on a CPU its memory is as that of `launch`.
    """
    function(x)
    if _recorder is not None and threading.get_ident() == _recording_thread:
        _recorder.exchanged(function, x)


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """`torch.empty` on the CPU, for what a kernel is launched to write."""
    if _recorder is not None and threading.get_ident() == _recording_thread:
        return _recorder.empty(shape, dtype)
    return torch.empty(shape, dtype=dtype)


@contextmanager
def recorded_by(recorder: Recorder) -> Iterator[None]:
    """Show a recorder what this thread launches meanwhile.

    Raises:
        RuntimeError: another recorder is being shown.
    """
    global _recorder, _recording_thread
    if _recorder is not None:
        raise RuntimeError("two recordings at one time")
    _recording_thread, _recorder = threading.get_ident(), recorder
    try:
        yield
    finally:
        _recorder, _recording_thread = None, 0
