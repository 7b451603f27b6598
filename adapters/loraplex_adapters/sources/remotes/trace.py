"""The trace that a fetch belongs to, told to the place that is asked, as W3C's `traceparent` header."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_traceparent: ContextVar[str] = ContextVar("loraplex_traceparent", default="")


@contextlib.contextmanager
def carrying(traceparent: str) -> Iterator[None]:
    """What is fetched in the block, and by tasks that it starts, is of this trace; "" of none.

    Of a fetch that several wait for, it is the trace of the first.
    """
    token = _traceparent.set(traceparent)
    try:
        yield
    finally:
        _traceparent.reset(token)


def trace_headers() -> dict[str, str]:
    """For a request to a remote place."""
    traceparent = _traceparent.get()
    return {"traceparent": traceparent} if traceparent else {}
