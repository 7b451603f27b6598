"""What is said of one name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["folder", "registered", "alias"]


@dataclass(frozen=True)
class CatalogEntry:
    """One name of the catalogue, for those who run the server.

    Args:
        name: as asked.
        kind: a sub-folder of the root, one that was added, or another name for either.
        source: where it comes from, without secrets; for a sub-folder, its name.
        aliases: other names of it, sorted.
        pinned: it shall stay in memory.
        created: Unix time at which it was added; for a folder, at which it was last written.
        target: what an alias stands for; None for all others.
        on_disk: its files are on this machine.
        revision: what the source calls the content that was fetched last; empty where it has no such name.
        last_error: why it could not be had the last time; None once it could.
    """

    name: str
    kind: Kind
    source: str
    aliases: tuple[str, ...]
    pinned: bool
    created: int
    target: str | None
    on_disk: bool
    revision: str
    last_error: str | None
