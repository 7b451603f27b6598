"""Writing to the disk so that a crash leaves the old or the new, never a part."""

from __future__ import annotations

import os


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
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
