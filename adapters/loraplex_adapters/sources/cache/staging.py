"""A folder in which an entry is put together, out of everybody's sight."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from types import TracebackType

from loraplex_adapters.sources.cache.file_lock import FileLock

LOCK = ".lock"


class Staging:
    """A temporary folder with room reserved. Left behind by a crash, its lock is free, and the next one cleans it.

    Args:
        parent: on the file system of the entries.
        nbytes: that will be written.

    Raises:
        OSError: it cannot be made; nothing is left of it.
    """

    def __init__(self, parent: str, nbytes: int) -> None:
        self.path = os.path.join(parent, uuid.uuid4().hex)
        self._lock = FileLock(self.path + LOCK)
        self._lock.acquire()
        try:
            self._lock.write(str(nbytes))
            os.mkdir(self.path)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the folder, if it was not moved away, and give the room back; twice is once."""
        shutil.rmtree(self.path, ignore_errors=True)
        if os.path.exists(self.path + LOCK):
            self._lock.delete()
        self._lock.release()

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def sweep(parent: str) -> int:
    """Remove what crashed processes left. Must run under the cache's lock.

    Returns:
        Bytes that living ones have reserved; nothing for those whose folder was published, which count as entries.
    """
    reserved, living = 0, set()
    names = os.listdir(parent)
    for name in names:
        if not name.endswith(LOCK):
            continue
        lock = FileLock(os.path.join(parent, name))
        if lock.acquire(wait=False):
            lock.delete()
            lock.release()
            continue
        living.add(name.removesuffix(LOCK))
        # What is given up needs no lock of the cache's for that, so its file may just have gone.
        if name.removesuffix(LOCK) in names:
            with contextlib.suppress(FileNotFoundError), open(os.path.join(parent, name)) as file:
                reserved += int(file.read() or 0)
    for name in names:
        if not name.endswith(LOCK) and name not in living:
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
    return reserved
