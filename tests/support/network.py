"""A network of its own with nothing but a loopback: fixed ports are free in it, whatever else the machine does."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000


class Network:
    """What is called in it, and the processes that this starts, see only it. Needs root."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread

    def __call__(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call a function inside."""
        return self._thread.submit(function, *arguments, **options).result()

    @contextlib.contextmanager
    def inside(self, manager: contextlib.AbstractContextManager[T]) -> Iterator[T]:
        """Enter and leave inside what is used outside."""
        entered = self(manager.__enter__)
        with contextlib.ExitStack() as stack:
            stack.push(lambda *error: self(manager.__exit__, *error))
            yield entered


@contextlib.contextmanager
def private_network() -> Iterator[Network]:
    """It ends with the last process inside."""
    with ThreadPoolExecutor(1, initializer=_leave) as thread:
        yield Network(thread)


def _leave() -> None:
    """Take this thread, and no other, into a network namespace of its own."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
