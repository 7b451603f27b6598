"""What was added by name, which names are pinned, and which stand for others. It survives a restart."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loraplex_adapters.errors import AdapterError
from loraplex_adapters.registry.database import connect


@dataclass(frozen=True)
class Registered:
    """Args: source: its text. revision: seen when it was fetched last. created: Unix time at which it was added."""

    source: str
    revision: str
    created: int


class Registry:
    """Three small tables, in memory for reading and in SQLite for keeping.

    Whether a change makes sense is the catalogue's to say; here it is only made, on the disk first. What is in memory
    is replaced, never changed, so that a thread may read it while the event loop writes.

    Args:
        folder: that keeps it, or None for nothing beyond this process.

    Raises:
        RegistryError: the folder cannot be used.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._database = None if folder is None else connect(folder)
        self.adapters = {
            name: Registered(*rest)
            for name, *rest in self._read("SELECT name, source, revision, created FROM adapters")
        }
        self.pins: frozenset[str] = frozenset(name for (name,) in self._read("SELECT name FROM pins"))
        self.aliases: dict[str, str] = dict(self._read("SELECT alias, target FROM aliases"))

    def put(self, name: str, source: str, revision: str) -> None:
        """Add an adapter, or give a name another source. Raises AdapterError where it cannot be written."""
        added = Registered(source, revision, int(time.time()))
        self._write(("INSERT OR REPLACE INTO adapters VALUES (?, ?, ?, ?)", (name, source, revision, added.created)))
        self.adapters = {**self.adapters, name: added}

    def lend(self, name: str, source: str) -> None:
        """Add an adapter for as long as this process lives, before whatever was kept under its name."""
        self.adapters = {**self.adapters, name: Registered(source, "", int(time.time()))}

    def note_revision(self, name: str, revision: str) -> None:
        """Remember what was fetched last. Raises as put does."""
        known = self.adapters.get(name)
        if known is not None and known.revision != revision:
            self._write(("UPDATE adapters SET revision = ? WHERE name = ?", (revision, name)))
            self.adapters = {**self.adapters, name: replace(known, revision=revision)}

    def drop(self, name: str) -> None:
        """Forget an adapter, its pin and its aliases. Raises as put does."""
        self._write(
            ("DELETE FROM adapters WHERE name = ?", (name,)),
            ("DELETE FROM pins WHERE name = ?", (name,)),
            ("DELETE FROM aliases WHERE target = ?", (name,)),
        )
        self.adapters = {each: added for each, added in self.adapters.items() if each != name}
        self.pins = self.pins - {name}
        self.aliases = {alias: target for alias, target in self.aliases.items() if target != name}

    def pin(self, name: str, pinned: bool) -> None:
        """Pin or unpin a name. Raises as put does."""
        if pinned == (name in self.pins):
            return
        if pinned:
            self._write(("INSERT INTO pins VALUES (?)", (name,)))
            self.pins = self.pins | {name}
        else:
            self._write(("DELETE FROM pins WHERE name = ?", (name,)))
            self.pins = self.pins - {name}

    def alias(self, alias: str, target: str | None) -> None:
        """Let a name stand for another; None ends that. Raises as put does."""
        if target is None:
            self._write(("DELETE FROM aliases WHERE alias = ?", (alias,)))
            self.aliases = {each: stands for each, stands in self.aliases.items() if each != alias}
        else:
            self._write(("INSERT OR REPLACE INTO aliases VALUES (?, ?)", (alias, target)))
            self.aliases = {**self.aliases, alias: target}

    def close(self) -> None:
        """Let another process have it."""
        if self._database is not None:
            self._database.close()

    def _read(self, statement: str) -> list[tuple[Any, ...]]:
        return [] if self._database is None else self._database.execute(statement).fetchall()

    def _write(self, *statements: tuple[str, tuple[str | int, ...]]) -> None:
        if self._database is None:
            return
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    self._database.execute(statement, values)
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise AdapterError(f"the change cannot be remembered: {error}") from error
