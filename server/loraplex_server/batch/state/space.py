"""How much room the files may take on the disk."""

from __future__ import annotations

import errno
import threading

# A file takes at least its block, however short it is.
LEAST = 4096


class NoSpaceError(OSError):
    """The files of this server would take more than they may."""


class Space:
    """Calls may come from any thread. Args: limit: bytes of all files together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self.used = 0

    def take(self, nbytes: int) -> None:
        """Before so many bytes are written.

        Raises:
            NoSpaceError: there is no room for them.
        """
        with self._lock:
            if self.used + nbytes > self._limit:
                raise NoSpaceError(errno.EDQUOT, f"all files together may take {self._limit} bytes, and take them")
            self.used += nbytes

    def hold(self, nbytes: int) -> None:
        """Of what is there already."""
        with self._lock:
            self.used += nbytes

    def give(self, nbytes: int) -> None:
        """After so many bytes are gone."""
        with self._lock:
            self.used -= nbytes
