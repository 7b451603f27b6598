"""Batches: what each is, and how far it has come."""

from __future__ import annotations

import time
import uuid
from typing import Any, Literal

import msgspec

from loraplex_server.batch.state.database import Database, Statement
from loraplex_server.batch.state.page import Cursor, read_page
from loraplex_server.batch.tally import Tally

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
UNFINISHED: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "cancelling")
_MARKS = ", ".join("?" * len(UNFINISHED))
WINDOW_S = 24 * 3600  # OpenAI's only one


class BatchError(msgspec.Struct, frozen=True):
    """What is wrong with a batch's input, or kept it from going on."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class StoredBatch(msgspec.Struct, frozen=True, kw_only=True):
    """One batch. Times are Unix times."""

    id: str
    tenant: str
    key_id: str  # of the key that made it: whose rights it has
    endpoint: str
    input_file_id: str
    created_at: int
    expires_at: int
    output_id: str  # of the files that its answers go to, from the start
    error_id: str
    output_lifetime_s: int
    metadata: dict[str, str] | None = None
    status: Status = "validating"
    model: str | None = None  # where all requests name one
    errors: tuple[BatchError, ...] = ()
    total: int = 0
    tally: Tally = msgspec.field(default_factory=Tally)
    output_file_id: str | None = None  # once they can be read
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None

    def at(self, status: Status, **changes: Any) -> StoredBatch:
        """This batch as it enters a status, now."""
        changes |= {"status": status, f"{status}_at": int(time.time())}
        return msgspec.structs.replace(self, **changes)

    def view(self, tally: Tally | None = None) -> dict[str, Any]:
        """As OpenAI's API shows it. Args: tally: where it is being worked on, how far it is."""
        tally = tally or self.tally
        errors = [msgspec.structs.asdict(error) for error in self.errors]
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": errors} if errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "in_progress_at": self.in_progress_at,
            "expires_at": self.expires_at,
            "finalizing_at": self.finalizing_at,
            "completed_at": self.completed_at,
            "failed_at": self.failed_at,
            "expired_at": self.expired_at,
            "cancelling_at": self.cancelling_at,
            "cancelled_at": self.cancelled_at,
            "request_counts": {"total": self.total, "completed": tally.completed, "failed": tally.failed},
            "usage": {
                "input_tokens": tally.input_tokens,
                "input_tokens_details": {"cached_tokens": tally.cached_tokens},
                "output_tokens": tally.output_tokens,
                "output_tokens_details": {"reasoning_tokens": tally.reasoning_tokens},
                "total_tokens": tally.input_tokens + tally.output_tokens,
            },
            "metadata": self.metadata,
        }


def new_batch_id() -> str:
    """An id that no other batch has."""
    return f"batch_{uuid.uuid4().hex}"


_decode = msgspec.json.Decoder(StoredBatch).decode


class Batches:
    """All batches of a server. Args: database: with their rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, batch: StoredBatch) -> None:
        """Keep a new one. Raises StateError."""
        row = (batch.id, batch.tenant, batch.status, batch.expires_at, msgspec.json.encode(batch))
        statement = "INSERT INTO batches (id, tenant, status, expires_at, content) VALUES (?, ?, ?, ?, ?)"
        self._database.write((statement, row))

    def save(self, batch: StoredBatch, *beside: Statement) -> None:
        """Keep how far one has come, and what goes with it. Raises StateError."""
        row = (batch.status, msgspec.json.encode(batch), batch.id)
        self._database.write(("UPDATE batches SET status = ?, content = ? WHERE id = ?", row), *beside)

    def find(self, tenant: str, id: str) -> StoredBatch | None:
        """A tenant's batch."""
        rows = self._database.read("SELECT content FROM batches WHERE id = ? AND tenant = ?", id, tenant)
        return _decode(rows[0][0]) if rows else None

    def page(self, tenant: str, cursor: Cursor) -> tuple[list[StoredBatch], bool]:
        """Some of a tenant's batches, and whether there are more. Raises UnknownCursorError."""
        rows, more = read_page(self._database, "batches", "content", [("tenant", tenant)], cursor)
        return [_decode(content) for (content,) in rows], more

    def unfinished(self) -> list[StoredBatch]:
        """All that are still to be worked on, oldest first."""
        query = f"SELECT content FROM batches WHERE status IN ({_MARKS}) ORDER BY number"
        return [_decode(content) for (content,) in self._database.read(query, *UNFINISHED)]

    def remove_before(self, moment: int) -> None:
        """Forget those that ended, and whose time was over before a moment. Raises StateError."""
        statement = f"DELETE FROM batches WHERE expires_at < ? AND status NOT IN ({_MARKS})"
        self._database.write((statement, (moment, *UNFINISHED)))
