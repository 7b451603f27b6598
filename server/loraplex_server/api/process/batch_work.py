"""Files and batches over the API: kept in the server's folder, worked on by the app itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fastapi import FastAPI, Request

from loraplex_server.api.errors import ApiError
from loraplex_server.api.process.background import Background
from loraplex_server.api.process.start_error import StartError
from loraplex_server.api.services import Services, services_of
from loraplex_server.batch.room import Room
from loraplex_server.batch.state.database import StateError
from loraplex_server.batch.state.state import BatchLimits, State, open_state
from loraplex_server.batch.work import BatchWork
from loraplex_server.batch.worker import Worker
from loraplex_server.settings import ServeSettings

HOW_TO_TURN_ON = (
    "This server keeps no files and batches: it was started without --state-dir DIR (or LORAPLEX_STATE_DIR)"
)
# For the document of the routes.
OFF = {501: "The server was started without `--state-dir`."}
# Bytes of a line beside its body.
OVERHEAD = 1 << 16


@contextlib.contextmanager
def kept_batches(settings: ServeSettings) -> Iterator[State | None]:
    """What the server's folder keeps, while the block runs; None where it has none.

    Raises:
        StartError: it cannot be used.
    """
    if settings.state_dir is None:
        yield None
        return
    limits = BatchLimits(
        file_size=settings.batch_max_file_size,
        lines=settings.batch_max_requests,
        line_size=settings.max_body_size + OVERHEAD,
        space=settings.batch_disk_size,
    )
    try:
        state = open_state(settings.state_dir, limits)
    except StateError as error:
        raise StartError(f"--state-dir: {error}") from error
    try:
        yield state
    finally:
        state.close()


def make_batch_work(app: FastAPI, services: Services, state: State) -> BatchWork:
    """The worker asks the app itself."""
    background = Background(app, services.callers, services.engine, services.drain)
    most = services.settings.batch_concurrency
    room = Room(lambda: background.seats(most))
    return BatchWork(state, Worker(state, room, background.asks, lambda: services.drain.leaving))


def batch_work_of(request: Request) -> BatchWork:
    """That of the app that serves the request.

    Raises:
        ApiError: 501, this server has none.
    """
    work = services_of(request).batch_work
    if work is None:
        raise ApiError(501, HOW_TO_TURN_ON, code="batches_disabled", outcome="unsupported")
    return work
