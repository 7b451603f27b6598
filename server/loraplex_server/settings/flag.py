"""What one option of another server's command line comes to here."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

Takes = Literal["nothing", "one", "many"]
# What a value is in our words; None where it asks for our default.
Read = Callable[[str], str | None]


@dataclass(frozen=True)
class Flag:
    """One option.

    Args:
        to: ours that it becomes; empty where it has none.
        takes: values.
        read: a value in our words; raises ValueError for what is not served.
        why: what the log says where it becomes nothing, and what is refused with where it is refused.
        only: values that ask for what is done anyway; all others are refused. None refuses none.
        secret: no message may show its value.
    """

    to: str = ""
    takes: Takes = "one"
    read: Read = str
    why: str = ""
    only: Collection[str] | None = None
    secret: bool = False


def renamed(to: str, read: Read = str, takes: Takes = "one") -> Flag:
    """An option that we have under this name."""
    return Flag(to, takes, read)


def done(why: str, takes: Takes = "one") -> Flag:
    """An option that changes no answer here, whatever its value: the log says why."""
    return Flag(takes=takes, why=why)


def refused(why: str, only: Collection[str] = (), takes: Takes = "one", *, secret: bool = False) -> Flag:
    """An option that is not served, but for the values that change nothing; `why` says what to do instead."""
    return Flag(takes=takes, why=why, only=only, secret=secret)


def tokens(value: str) -> str | None:
    """A number of tokens as vLLM reads it: 8192, 8k (thousands), 8K (1024s); auto and -1 are the default.

    Raises:
        ValueError: it is none of these.
    """
    if value in ("auto", "-1"):
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", value)
    if match is None:
        raise ValueError("is no number of tokens")
    unit = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}[match[2]]
    count = float(match[1]) * unit
    if count >= 2.0**63:
        raise ValueError("is more tokens than any context has")
    return str(int(count))
