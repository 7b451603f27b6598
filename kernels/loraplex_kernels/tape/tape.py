"""What was recorded, ready to be called again."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.launch import launch


class Call(NamedTuple):
    """One launch of a kernel."""

    function: ctypes._NamedFuncPointer
    arguments: bytes  # its structure, as it was
    keep: object = None  # what the structure has addresses of, and nobody else may keep alive


class _Call(ctypes.Structure):
    """`struct tape_call`."""

    _fields_ = (("kernel", ctypes.c_void_p), ("arguments", ctypes.c_void_p))


class _Tape(ctypes.Structure):
    """`struct tape`."""

    _fields_ = (("calls", ctypes.c_void_p), ("count", ctypes.c_int64))


class Exchange(NamedTuple):
    """What is done between two launches, with other processes."""

    function: Callable[[Tensor], None]
    x: Tensor


class Tape:
    """What a step launches, in order: kernels that follow each other by one call.

    Args:
        calls: the launches, and what is exchanged between them.

    Raises:
        RuntimeError: the compiled kernels are not there.
    """

    def __init__(self, calls: Sequence[Call | Exchange]) -> None:
        self._steps = list(_steps(calls))
        self._count = len(calls)

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of the calls, without the tensors that they work on."""
        return sum(step.nbytes for step in self._steps if isinstance(step, _Stretch))

    def run(self) -> None:
        """Call them all.

        Raises:
            MemoryError: see `launch`.
        """
        for step in self._steps:
            if isinstance(step, _Stretch):
                launch(step.function, step.arguments)
            else:
                step.function(step.x)


def _steps(calls: Sequence[Call | Exchange]) -> Iterator[_Stretch | Exchange]:
    run: list[Call] = []
    for call in calls:
        if isinstance(call, Call):
            run.append(call)
            continue
        if run:
            yield _Stretch(run)
            run = []
        yield call
    if run:
        yield _Stretch(run)


class _Stretch:
    """Kernels in order, called by one call (csrc/tape.c)."""

    def __init__(self, calls: Sequence[Call]) -> None:
        library = native.library()
        if library is None:
            raise RuntimeError(native.status())
        self.function = library.loraplex_tape
        self._kept = [call.keep for call in calls if call.keep is not None]
        sizes = [-(-len(call.arguments) // 64) * 64 for call in calls]
        self._memory = ctypes.create_string_buffer(sum(sizes))
        self._calls = (_Call * len(calls))()
        address = ctypes.addressof(self._memory)
        for entry, call, size in zip(self._calls, calls, sizes, strict=True):
            ctypes.memmove(address, call.arguments, len(call.arguments))
            entry.kernel = ctypes.cast(call.function, ctypes.c_void_p).value
            entry.arguments = address
            address += size
        self.arguments = _Tape(ctypes.addressof(self._calls), len(calls))

    @property
    def nbytes(self) -> int:
        """Bytes of the calls, without the tensors that they work on."""
        return len(self._memory) + ctypes.sizeof(self._calls)
