"""All that a server keeps of files and batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loraplex_server.batch.state.batches import Batches
from loraplex_server.batch.state.database import Database, StateError
from loraplex_server.batch.state.files import Files

FOLDER = "files"


@dataclass(frozen=True)
class BatchLimits:
    """Args: file_size: bytes of an upload. lines: of a batch. line_size: bytes. space: bytes of all files together."""

    file_size: int
    lines: int
    line_size: int
    space: int


@dataclass(frozen=True)
class State:
    """Args: database: of both. files, batches: what there is. limits: of new ones."""

    database: Database
    files: Files
    batches: Batches
    limits: BatchLimits

    def close(self) -> None:
        """Let another server have it."""
        self.database.close()


def open_state(folder: Path, limits: BatchLimits) -> State:
    """What is in a folder, made where it is missing, without the leftovers of a crash.

    Raises:
        StateError: it cannot be used.
    """
    database = Database(folder)
    try:
        files, batches = Files(database, folder / FOLDER, limits.space), Batches(database)
        files.sweep({id for batch in batches.unfinished() for id in (batch.output_id, batch.error_id)})
    except (OSError, StateError) as error:
        database.close()
        raise StateError(f"{folder / FOLDER} cannot be used: {error}") from error
    return State(database, files, batches, limits)
