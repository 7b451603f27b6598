"""Sizes in bytes as people write them: 2147483648, 2GiB, 2Gi, 500MB."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_UNITS = {"": 1, **_DECIMAL, **_BINARY}
_TOO_LARGE = 2.0**63
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", re.IGNORECASE)


def parse_bytes(value: object) -> object:
    """Bytes of a size; what is not a string is left to the field's own validation.

    Units are those of IEC 80000 and Kubernetes: `GB` and `G` are 10**9, `GiB` and `Gi` are 2**30.

    Raises:
        ValueError: the string is no size, or that of nothing there is.
    """
    if not isinstance(value, str):
        return value
    match = _PATTERN.fullmatch(value.strip())
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError("not a size in bytes: write a number of bytes, or one with a unit such as 512MiB or 2GiB")
    size = float(match[1]) * _UNITS[match[2].lower()]
    if size >= _TOO_LARGE:
        raise ValueError("more bytes than any machine has")
    return int(size)


Bytes = Annotated[int, BeforeValidator(parse_bytes)]


def format_bytes(size: int) -> str:
    """A size for people: `2.0 GiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
