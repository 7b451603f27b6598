"""Recording what a function launches."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from loraplex_kernels.launch import recorded_by
from loraplex_kernels.tape.arena import Arena
from loraplex_kernels.tape.tape import Call, Exchange, Tape

Result = TypeVar("Result")


class NotRecordableError(Exception):
    """The function does something that calling its kernels again would not do; the message names it.

    Args:
        message: about the first such thing.
        result: what the function returned all the same.
    """

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


def record(run: Callable[[], Result], arena: Arena) -> tuple[Tape, Result]:
    """Call a function, and keep what it launches.

    Args:
        run: computes through `launch` alone, on memory from `empty` and on memory that outlives the tape: weights,
            and buffers whose content is the input of each replay. What it asks the host about must be the same at every
            replay: shapes, and nothing that a tensor holds.
        arena: where the tensors that it makes are laid.

    Returns:
        The tape, and what `run` returned: tensors in the arena that hold the result of the last replay, until another
        tape of the arena is replayed or recorded.

    Raises:
        NotRecordableError: `run` computes through torch as well, which no replay would do. It was run to its end, and
            the error holds what it returned: nobody has to run it again, and what it exchanges with other processes,
            which may well record it, is exchanged once.
    """
    recorder = _Recorder(arena)
    arena.rewind()
    views = _ViewsOnly()
    with recorded_by(recorder), views:
        result = run()
    if views.foreign is not None:
        raise NotRecordableError(f"torch's {views.foreign} is part of it, which is no compiled kernel", result)
    return Tape(recorder.calls), result


class _Recorder:
    """See `launch.Recorder`."""

    def __init__(self, arena: Arena) -> None:
        self.calls: list[Call | Exchange] = []
        self._arena = arena

    def launched(self, function: ctypes._NamedFuncPointer, arguments: ctypes.Structure, keep: object) -> None:
        self.calls.append(Call(function, bytes(arguments), keep))

    def exchanged(self, function: Callable[[Tensor], None], x: Tensor) -> None:
        self.calls.append(Exchange(function, _same_memory(x)))

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return self._arena.empty(shape, dtype)


def _same_memory(x: Tensor) -> Tensor:
    """The tensor, without holding on to its memory: else the arena could lay nothing there any more."""
    memory = (ctypes.c_uint8 * x.nbytes).from_address(x.data_ptr())
    return torch.from_numpy(np.ctypeslib.as_array(memory)).view(x.dtype).view(x.shape)


class _ViewsOnly(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lets torch look at tensors in other shapes, and notes what writes or makes any."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.foreign: str | None = None  # the first

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's own question. Yes, its default, has it import its compiler, and Triton, to keep them away: 170 MB."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        known = {_storage(tensor) for tensor in _tensors((args, kwargs or {}))}
        made = list(_tensors(result))
        if func._schema.is_mutable or not made or any(_storage(tensor) not in known for tensor in made):
            self.foreign = self.foreign or str(func)
        return result


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(value: Any) -> Iterator[Tensor]:
    """Those in nested arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
