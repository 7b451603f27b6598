"""Threads with room for deep recursion."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

# llguidance follows rules, and a schema's references, by calling itself: some 15,000 deep in what MAX_BYTES can hold,
# and a stack that is full ends the process. Only what is touched of it is ever real memory.
STACK_BYTES = 256 << 20

_T = TypeVar("_T")
_starting = threading.Lock()


class DeepThreads(ThreadPoolExecutor):
    """An executor whose threads have STACK_BYTES of stack.

    Args:
        threads: at most. name: of them, in lists of threads.
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)

    def submit(self, work: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """As any executor's. It may start a thread, and the size of stacks is one setting for the whole process."""
        with _starting:
            before = threading.stack_size(STACK_BYTES)
            try:
                return super().submit(work, *args, **kwargs)
            finally:
                threading.stack_size(before)
