"""Writing to the disk so that a crash leaves the old or the new, never a part."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from loraplex_adapters.errors import DiskFullError


@contextlib.contextmanager
def telling_full(doing: str) -> Iterator[None]:
    """While something is written.

    Args:
        doing: what cannot be done where the disk is full.

    Raises:
        DiskFullError: the disk, or its owner's share of it, is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"this server's disk is full: {doing}") from error
        raise


def sync_folder(path: str) -> None:
    """Make the folder's entries durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path: str, content: bytes) -> None:
    """Replace a file in one step; the temporary one lies beside it. One writer of a path at a time."""
    temporary = f"{path}.{os.getpid()}.new"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
