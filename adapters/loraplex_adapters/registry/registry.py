"""What was added by name, which names are pinned, and which stand for others. It survives a restart."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loraplex_adapters.errors import NotRememberedError, RegistryError
from loraplex_adapters.registry.database import connect

logger = logging.getLogger(__name__)

_PIN = "INSERT OR IGNORE INTO pins VALUES (?)"
_ALIAS = "INSERT OR REPLACE INTO aliases VALUES (?, ?)"


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
        try:
            added = self._read("SELECT name, source, revision, created FROM adapters")
            self.adapters = {name: Registered(*rest) for name, *rest in added}
            self.pins: frozenset[str] = frozenset(name for (name,) in self._read("SELECT name FROM pins"))
            self.aliases: dict[str, str] = dict(self._read("SELECT alias, target FROM aliases"))
        except sqlite3.Error as error:
            self.close()
            raise RegistryError(f"the names of adapters in {folder} cannot be read: {error}") from error

    def put(
        self, name: str, source: str, revision: str, *, pinned: bool = False, aliases: Collection[str] = ()
    ) -> None:
        """Add an adapter, or give a name another source or revision; all of it, or nothing.

        Args:
            pinned: pin it; else its pin stays as it is.
            aliases: that stand for it from now on, beside those that do.

        Raises:
            NotRememberedError: it cannot be written.
        """
        known = self.adapters.get(name)
        created = known.created if known is not None and known.source == source else int(time.time())
        self._write(
            ("INSERT OR REPLACE INTO adapters VALUES (?, ?, ?, ?)", (name, source, revision, created)),
            *([(_PIN, (name,))] if pinned else []),
            *((_ALIAS, (alias, name)) for alias in aliases),
        )
        self.adapters = {**self.adapters, name: Registered(source, revision, created)}
        self.pins = self.pins | {name} if pinned else self.pins
        self.aliases = {**self.aliases, **dict.fromkeys(aliases, name)}

    def lend(self, name: str, source: str) -> None:
        """Add an adapter for as long as this process lives, before whatever was kept under its name."""
        self.adapters = {**self.adapters, name: Registered(source, "", int(time.time()))}

    def note_revision(self, name: str, revision: str) -> None:
        """Remember what was fetched last, for whoever asks; what cannot be written is known until a restart."""
        known = self.adapters.get(name)
        if known is None or known.revision == revision:
            return
        self.adapters = {**self.adapters, name: replace(known, revision=revision)}
        try:
            self._write(("UPDATE adapters SET revision = ? WHERE name = ?", (revision, name)))
        except NotRememberedError as error:
            logger.warning("revision %s of adapter '%s': %s", revision, name, error)

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

    def change(self, name: str, *, pinned: bool | None = None, aliases: Collection[str] | None = None) -> None:
        """Change a name's pin, its aliases, or both; None leaves them as they are. Raises as put does."""
        statements: list[tuple[str, tuple[str | int, ...]]] = []
        pins, stands = self.pins, self.aliases
        if pinned is not None:
            statements.append((_PIN if pinned else "DELETE FROM pins WHERE name = ?", (name,)))
            pins = pins | {name} if pinned else pins - {name}
        if aliases is not None:
            statements.append(("DELETE FROM aliases WHERE target = ?", (name,)))
            statements += [(_ALIAS, (alias, name)) for alias in aliases]
            others = {alias: target for alias, target in stands.items() if target != name}
            stands = {**others, **dict.fromkeys(aliases, name)}
        self._write(*statements)
        self.pins, self.aliases = pins, stands

    def drop_alias(self, alias: str) -> None:
        """Let it stand for nothing. Raises as put does."""
        self._write(("DELETE FROM aliases WHERE alias = ?", (alias,)))
        self.aliases = {each: target for each, target in self.aliases.items() if each != alias}

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
            raise NotRememberedError(f"the change cannot be remembered: {error}") from error
