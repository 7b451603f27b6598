"""The trace that a request belongs to, as W3C's `traceparent` header says it (Trace Context, level 2)."""

from __future__ import annotations

import re
from typing import NamedTuple

# Version, trace, parent and flags; later versions may add parts behind.
_HEADER = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceParent(NamedTuple):
    """Ids in small hexadecimal digits: 32 of a trace, 16 of a span."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def header(self) -> str:
        """As it is sent."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def parse_traceparent(header: str | None) -> TraceParent | None:
    """What a header says; None for one that is missing or malformed, which the specification has ignored."""
    if header is None:
        return None
    found = _HEADER.fullmatch(header)
    if found is None or (found[1] == "00" and found[5] is not None):
        return None
    return TraceParent(found[2], found[3], bool(int(found[4], 16) & 1))
