"""Locks between processes, and between the threads of one: they end with whoever has them, even by kill -9."""

from __future__ import annotations

import fcntl
import os
from types import TracebackType


class FileLock:
    """An flock on a file of its own, which may be deleted while it is locked.

    Every instance opens the file anew, so that two of them exclude each other within a process too.

    Args:
        path: of the file; made where it is missing.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self, *, shared: bool = False, wait: bool = True) -> bool:
        """Take the lock.

        Returns:
            False if somebody has it and `wait` is false.

        Raises:
            OSError: the file cannot be made, or its file system knows no locks.
        """
        flags = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, flags)
                if _is_at(fd, self._path):
                    self._fd, fd = fd, -1
                    return True
            except BlockingIOError:
                return False
            finally:
                if fd >= 0:  # else it is ours now; one that was deleted while we waited locks nothing
                    os.close(fd)

    def write(self, text: str) -> None:
        """Let others read something of whoever has it."""
        if self._fd is not None:
            os.pwrite(self._fd, text.encode(), 0)

    def delete(self) -> None:
        """Remove the file; to be called while the lock is exclusive, and before its release."""
        os.unlink(self._path)

    def release(self) -> None:
        """Let go; twice is once."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _is_at(fd: int, path: str) -> bool:
    """Whether the open file is still the one at that path."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
