"""Which parts of a block of memory are free. Plain Python, offsets and lengths only."""

from __future__ import annotations

from bisect import insort


class Ranges:
    """Free ranges of `size` bytes, in the order of their offsets, neighbours joined.

    Best fit: of the ranges that are long enough the shortest, and of those the first, so that long ones stay whole and
    what was used before is used again.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = size
        self._ranges: list[tuple[int, int]] = [(0, size)] if size else []  # (offset, length)

    def take(self, length: int) -> int | None:
        """Offset of a range of that length, at least 1, that is now taken; None: none is long enough."""
        if length < 1:
            raise ValueError(f"a range has at least 1 byte, not {length}")
        fitting = [(have, offset) for offset, have in self._ranges if have >= length]
        if not fitting:
            return None
        have, offset = min(fitting)
        self._ranges.remove((offset, have))
        if have > length:
            insort(self._ranges, (offset + length, have - length))
        self.free -= length
        return offset

    def give_back(self, offset: int, length: int) -> None:
        """Make a taken range free.

        Raises:
            ValueError: some of it is free already, or outside.
        """
        end = offset + length
        if offset < 0 or end > self.size or any(at < end and offset < at + have for at, have in self._ranges):
            raise ValueError(f"{length} bytes at {offset} are not taken")
        self.free += length
        for at, have in list(self._ranges):
            if at + have == offset or at == end:
                self._ranges.remove((at, have))
                offset, length = min(offset, at), length + have
        insort(self._ranges, (offset, length))
