"""How much one key may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Of one key in one server process; None is no limit.

    Args:
        requests: a minute.
        tokens: of prompts and answers, a minute.
        concurrency: requests at once.
    """

    requests: int | None = None
    tokens: int | None = None
    concurrency: int | None = None


UNLIMITED = Limits()
