"""How long a request's answer may take: its field, its header, or the server's setting, the first that there is."""

from __future__ import annotations

import math
import time

from starlette.datastructures import Headers

from loraplex_server.api.errors import bad_request
from loraplex_server.api.record import RequestRecord
from loraplex_server.api.schemas.sampling import MAX_TIMEOUT_S

HEADERS = ("x-loraplex-timeout", "x-request-timeout")


def timeout_header(headers: Headers) -> tuple[str, str] | None:
    """Name and value of the header that sets a timeout, unchecked."""
    return next(((name, headers[name]) for name in HEADERS if name in headers), None)


def time_left(record: RequestRecord, asked: float | None, default: float | None) -> float | None:
    """Seconds from now; None: no limit.

    Args:
        record: of the request, with its header and its arrival.
        asked: the body's `timeout`.
        default: the server's.

    Raises:
        ApiError: the header has no number of seconds, and the body none either.
    """
    timeout = asked
    if timeout is None and record.timeout_header is not None:
        timeout = _seconds(*record.timeout_header)
    if timeout is None:
        timeout = default
    return None if timeout is None else max(timeout - (time.perf_counter() - record.arrival), 0.0)


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise bad_request(f"'{name}': must be seconds, more than 0 and at most {MAX_TIMEOUT_S}", param=name)
    return seconds
