"""Files and batches, as the routes use them."""

from __future__ import annotations

from dataclasses import dataclass

from loraplex_server.batch.state.state import State
from loraplex_server.batch.worker import Worker


@dataclass(frozen=True)
class BatchWork:
    """Args: state: what is kept. worker: of the batches."""

    state: State
    worker: Worker
