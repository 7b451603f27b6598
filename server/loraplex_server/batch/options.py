"""What `loraplex run-batch` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loraplex_server.settings import ServeSettings


@dataclass(frozen=True)
class Remote:
    """A running server. Args: url: its root. key: sent as a bearer token, if any."""

    url: str
    key: str | None


@dataclass(frozen=True)
class BatchOptions:
    """Args: source: the requests. target: their answers. server: of its own, or running. concurrency: at once."""

    source: Path
    target: Path
    server: ServeSettings | Remote
    concurrency: int | None
