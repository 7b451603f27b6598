"""How full the disk cache is."""

from __future__ import annotations

from typing import NamedTuple


class DiskUsage(NamedTuple):
    """Of all processes that share it."""

    entries: int
    nbytes: int  # of the entries
    limit: int  # bytes, for these and for what is being fetched
