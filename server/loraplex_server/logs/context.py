"""What every line says that is written while a request is worked on: its id, and its trace's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

_NOTHING: Mapping[str, str] = {}
# Tasks and threads (asyncio.to_thread) that a request starts have it too.
_context: ContextVar[Mapping[str, str]] = ContextVar("loraplex_log_context", default=_NOTHING)


def context() -> Mapping[str, str]:
    """Fields of the request that this code works on; none where it works on no request."""
    return _context.get()


@contextlib.contextmanager
def lines_about(fields: Mapping[str, str]) -> Iterator[None]:
    """Whatever is logged in the block has these fields."""
    token = _context.set(fields)
    try:
        yield
    finally:
        _context.reset(token)
