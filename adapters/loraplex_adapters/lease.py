"""A request's hold on one adapter."""

from __future__ import annotations

import time
from typing import Literal

from loraplex_adapters.errors import AdapterError
from loraplex_adapters.report import Origin
from loraplex_adapters.residents import Claim
from loraplex_adapters.seat import Seat
from loraplex_adapters.source import AdapterSource

LeaseState = Literal["waiting", "ready", "failed"]


class Lease:
    """While it is ready, the adapter stays in memory, in its slot, even if its files are replaced.

    Made by the store, which also moves its state on; the engine reads it, and gives it back exactly once.

    Args:
        source: what was asked for.
        claim: that it belongs to; the leases of one claim are ready together.
    """

    def __init__(self, source: AdapterSource, claim: Claim[tuple[str, str]]) -> None:
        self.source = source
        self.claim = claim
        self.was_there = False  # in its slot when the lease was made; set by the store
        self.ready_at = float("-inf")  # by time.monotonic, once it is ready
        self.error: AdapterError | None = None  # once it failed
        self.released = False
        self._seat: Seat | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What the store keeps apart: the same folder in another state is another adapter."""
        return self.source.path, self.source.fingerprint

    @property
    def state(self) -> LeaseState:
        """Waiting at first, then one of the others for good."""
        if self.error is not None:
            return "failed"
        return "waiting" if self._seat is None else "ready"

    @property
    def slot(self) -> int:
        """Row of the table."""
        return self.place.slot

    @property
    def generation(self) -> str:
        """Hash of the adapter's content."""
        return self.place.generation

    @property
    def magnitude(self) -> bool:
        """It has DoRA magnitudes."""
        return self.place.magnitude

    @property
    def origin(self) -> Origin:
        """Where the adapter was when the lease was made. Raises RuntimeError as `place` does."""
        return "device" if self.was_there else self.place.origin

    @property
    def place(self) -> Seat:
        """Where the adapter sits, and what is known of it.

        Raises:
            RuntimeError: the lease is not ready.
        """
        if self._seat is None:
            raise RuntimeError(f"adapter '{self.source.name}' is not in memory: its lease is {self.state}")
        return self._seat

    def seat(self, seat: Seat) -> None:
        """The adapter is in memory."""
        self._seat = seat
        self.ready_at = time.monotonic()
