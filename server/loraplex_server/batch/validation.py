"""Whether a file of requests can be a batch: all that is wrong with it is said before anything is asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from loraplex_server.batch.line import Line, LineError
from loraplex_server.batch.pending import duplicate
from loraplex_server.batch.seen import Seen
from loraplex_server.batch.state.batches import BatchError

MOST_ERRORS = 100


@dataclass
class Validation:
    """Args: total: requests. model: where all name one. errors: none where it can be a batch."""

    total: int
    model: str | None
    errors: tuple[BatchError, ...]


async def validate(
    lines: AsyncGenerator[Line | LineError, None], endpoint: str, most_lines: int, seen: Seen
) -> Validation:
    """Look at all lines.

    Args:
        lines: of the file; closed in the end.
        endpoint: that all must be for. most_lines: that there may be. seen: of no line yet.
    """
    errors: list[BatchError] = []
    models: set[str] = set()
    total = 0
    async with aclosing(lines):
        async for line in lines:
            total += 1
            if total > most_lines:
                errors.append(BatchError("too_many_requests", f"A batch may have {most_lines} requests"))
                break
            fault = line if isinstance(line, LineError) else _fault(line, endpoint, seen)
            if fault is not None:
                errors.append(BatchError(fault.code, fault.message, fault.param, fault.number))
            elif isinstance(line, Line):
                models.add(line.model)
            if len(errors) == MOST_ERRORS:
                break
    if not total:
        errors.append(BatchError("empty_file", "The file has no requests"))
    model = models.pop() if len(models) == 1 else None
    return Validation(total, model or None, tuple(errors))


def _fault(line: Line, endpoint: str, seen: Seen) -> LineError | None:
    first = seen.meet(line.custom_id, line.number)
    if first is not None:
        return duplicate(line, first)
    if line.url != endpoint:
        message = f"'url' is {line.url}, and the batch is for {endpoint}"
        return LineError("invalid_url", message, line.number, "url", line.custom_id)
    return None
