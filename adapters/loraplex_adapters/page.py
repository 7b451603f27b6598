"""Pages: adapters in the host's memory begin on one. Plain Python, for whoever plans that memory too."""

from __future__ import annotations

PAGE = 4096


def whole_pages(nbytes: int) -> int:
    """Bytes with what they lack to whole pages."""
    return -(-nbytes // PAGE) * PAGE
