"""Server-sent events."""

from __future__ import annotations

from typing import Any

import msgspec

encode_json = msgspec.json.Encoder().encode


def event(body: Any, name: str | None = None) -> bytes:
    """One of them; a name goes on a line of its own."""
    data = b"data: " + encode_json(body) + b"\n\n"
    return data if name is None else b"event: " + name.encode() + b"\n" + data
