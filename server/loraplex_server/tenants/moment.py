"""Moments as people write them."""

from __future__ import annotations

import re
from datetime import date, datetime, timezone

_AHEAD = re.compile(r"(\d{1,6})([hdw])")
_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}
LAST = 253_402_300_799  # the end of the year 9999: what comes later no calendar writes


def moment(value: object) -> int:
    """Unix time, in whole seconds, of a date, a date and time (UTC unless it says otherwise), or a Unix time.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, bool) or not isinstance(value, int | str | date):
        raise ValueError("must be a date such as 2027-01-31, a date and time, or Unix seconds")
    if isinstance(value, str):
        if re.fullmatch(r"[12]\d{7}", value):  # a date to people, and a moment of 1970 to programs
            raise ValueError("is it a date? Then write it as 2027-01-31")
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 13 else _parsed(value)
    if isinstance(value, date):
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        value = int((value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp())
    if not 0 <= value <= LAST:
        raise ValueError("is no moment between the years 1970 and 9999")
    return value


def moment_ahead(value: str, now: float) -> int:
    """The same, or so far from now: 12h, 30d, 4w. Raises as moment does."""
    found = _AHEAD.fullmatch(value)
    return moment(int(now) + int(found[1]) * _SECONDS[found[2]]) if found else moment(value)


def shown(seconds: int) -> str:
    """A Unix time for people: the date where it is midnight in UTC."""
    text = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    return text.removesuffix(" 00:00:00") if text.endswith(" 00:00:00") else f"{text} UTC"


def _parsed(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError("must be a date such as 2027-01-31, a date and time, or Unix seconds") from None
