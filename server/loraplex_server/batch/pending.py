"""What of a file is still to be done."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from loraplex_server.batch.line import Line, LineError
from loraplex_server.batch.seen import Seen


async def pending_lines(
    lines: AsyncGenerator[Line | LineError, None], seen: Seen
) -> AsyncGenerator[Line | LineError, None]:
    """The lines that have no answer yet. A name that stood on an earlier line makes the later one an error."""
    async with aclosing(lines):
        async for line in lines:
            if isinstance(line, Line):
                first = seen.meet(line.custom_id, line.number)
                if first is None:
                    if not seen.is_answered(line.custom_id):
                        yield line
                    continue
                line = duplicate(line, first)
            if not seen.is_refused(line.number):
                yield line


def duplicate(line: Line, first: int) -> LineError:
    """What is said of a line whose name stood on another before."""
    message = f"'custom_id' {line.custom_id!r} is that of line {first} already; each must be unique"
    return LineError("duplicate_custom_id", message, line.number, "custom_id", line.custom_id)
