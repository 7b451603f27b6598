"""Where usage is kept: counted in memory, written every few seconds, and still there after a restart."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from loraplex_server.tenants.errors import UsageError
from loraplex_server.tenants.usage import DAY_S, HOUR_S, Amount, Slot

FILE = "usage.sqlite"
SCHEMA = 1
KEPT_S = 400 * DAY_S  # a year, and time to look back at it

_TABLE = """
CREATE TABLE usage (
    start INTEGER, tenant TEXT, key TEXT, adapter TEXT, requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, PRIMARY KEY (start, tenant, key, adapter)
) WITHOUT ROWID
"""
_AMOUNTS = ("requests", "prompt_tokens", "cached_tokens", "output_tokens")
_ADD = (
    f"INSERT INTO usage (start, tenant, key, adapter, {', '.join(_AMOUNTS)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (start, tenant, key, adapter) "
    f"DO UPDATE SET {', '.join(f'{each} = {each} + excluded.{each}' for each in _AMOUNTS)}"
)


@dataclass(frozen=True)
class Question:
    """Args: since, until: Unix times, the second is outside. tenant: None for all. by: what is added up.
    by_key: keys apart. after, limit: the part of the answer; slots in their order."""

    since: int
    until: int
    tenant: str | None = None
    by: Literal["hour", "day"] = "day"
    by_key: bool = False
    after: Slot | None = None
    limit: int = 1000


class UsageBook:
    """May be asked and told by several threads.

    Args:
        folder: that keeps it; None for nothing beyond this process.

    Raises:
        UsageError: it cannot be used, here and in `flush` and `read`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._counted: dict[Slot, Amount] = {}  # since the last flush
        self._counting = threading.Lock()
        self._lock = threading.Lock()  # of the connection
        path = ":memory:" if folder is None else str(folder / FILE)
        with self._errors():
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def count(self, slot: Slot, amount: Amount) -> None:
        """Add to a slot; nothing is written yet."""
        with self._counting:
            self._counted.setdefault(slot, Amount()).add(amount)

    def flush(self) -> None:
        """Write what was counted; where that fails, it is kept for the next time."""
        with self._lock:
            with self._counting:
                counted, self._counted = self._counted, {}
            if not counted:
                return
            try:
                with self._errors(), self._transaction():
                    rows = [(*astuple(slot), *astuple(amount)) for slot, amount in counted.items()]
                    self._connection.executemany(_ADD, rows)
                    self._connection.execute("DELETE FROM usage WHERE start < ?", (int(time.time()) - KEPT_S,))
            except UsageError:
                for slot, amount in counted.items():
                    self.count(slot, amount)
                raise

    def read(self, question: Question) -> Sequence[tuple[Slot, Amount]]:
        """The slots in their order, what was counted this moment among them; a day's begin at its midnight in UTC."""
        self.flush()
        step = DAY_S if question.by == "day" else HOUR_S
        after = question.after
        sums = ", ".join(f"sum({each})" for each in _AMOUNTS)
        slot = f"start / {step} * {step}, tenant, {'key' if question.by_key else repr('')}, adapter"
        statement = (
            f"SELECT {slot}, {sums} FROM usage WHERE start >= ? AND start < ? AND (? IS NULL OR tenant = ?) "
            f"GROUP BY 1, 2, 3, 4 HAVING ? OR ({slot}) > (?, ?, ?, ?) ORDER BY 1, 2, 3, 4 LIMIT ?"
        )
        span = (question.since, question.until, question.tenant, question.tenant)
        place = (after is None, *(astuple(after) if after is not None else (0, "", "", "")))
        with self._errors(), self._lock:
            rows = self._connection.execute(statement, (*span, *place, question.limit)).fetchall()
        return [(Slot(*row[:4]), Amount(*row[4:])) for row in rows]

    def knows_keys(self) -> bool:
        """Whether anything was ever asked with a key of a key store."""
        with self._errors(), self._lock:
            return self._connection.execute("SELECT 1 FROM usage WHERE key <> '' LIMIT 1").fetchone() is not None

    def close(self) -> None:
        """Let go of the file; what was not flushed is lost."""
        self._connection.close()

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last seconds, not the file
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA:
            raise UsageError(f"{FILE} was written by a newer version of Loraplex: use that, or another state folder")
        if version == 0:
            with self._transaction():
                self._connection.execute(_TABLE)
                self._connection.execute(f"PRAGMA user_version = {SCHEMA}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"usage cannot be read or written: {error}") from error
