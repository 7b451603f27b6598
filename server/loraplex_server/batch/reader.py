"""The lines of a file, one at a time, whatever its size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from pathlib import Path

from loraplex_server.batch.line import Line, LineError, parse_line

# Read at once on a thread; so many of the longest lines are in memory.
BLOCK = 16
COUNTED = 1 << 20  # bytes


def read_lines(path: Path, longest: int) -> Iterator[Line | LineError]:
    """All requests of a file in its order, and what is wrong with the lines that are none. Empty lines are skipped.

    Args:
        path: of the file.
        longest: bytes that a line may have.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        number = 0
        while data := file.readline(longest + 1):
            number += 1
            if len(data) > longest and not data.endswith(b"\n"):
                while (rest := file.readline(COUNTED)) and not rest.endswith(b"\n"):
                    pass
                yield LineError("line_too_long", f"This line is longer than {longest} bytes", number)
            elif not data.isspace():
                yield _read(data, number)


def _read(data: bytes, number: int) -> Line | LineError:
    try:
        return parse_line(data, number)
    except LineError as error:
        return error


async def read_on_thread(path: Path, longest: int) -> AsyncGenerator[Line | LineError, None]:
    """As read_lines, while the event loop turns."""
    lines = read_lines(path, longest)
    while block := await asyncio.to_thread(lambda: list(islice(lines, BLOCK))):
        for line in block:
            yield line


def count_lines(path: Path) -> int:
    """Lines that are not empty.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return sum(not data.isspace() for data in file)
