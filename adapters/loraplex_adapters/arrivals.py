"""Adapters on their way in: inspected, given room, read or taken from the host tier, seated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from loraplex_adapters.errors import AdapterError, AdapterTooLargeError
from loraplex_adapters.intake import Intake
from loraplex_adapters.known import Key, Known
from loraplex_adapters.loader import Outcome
from loraplex_adapters.loading import LoadedAdapter
from loraplex_adapters.package import Package
from loraplex_adapters.residency import Residency
from loraplex_adapters.seating import Seating
from loraplex_adapters.shelf import Shelf
from loraplex_adapters.transfer import Transfer


class Arrivals:
    """Takes each adapter from the state that the residency is in to the next.

    Args:
        residency: counts them.
        known: what is known of each.
        shelf: where they may be.
        intake: does the work.
        seating: where they go.
        failed: is told of those that cannot come.
    """

    def __init__(
        self,
        residency: Residency[Key],
        known: dict[Key, Known],
        shelf: Shelf,
        intake: Intake,
        seating: Seating,
        failed: Callable[[Key, AdapterError], None],
    ) -> None:
        self._residency = residency
        self._known = known
        self._shelf = shelf
        self._intake = intake
        self._seating = seating
        self._failed = failed
        self._landing: dict[Key, LoadedAdapter] = {}  # read, but the copy to the device may still run
        self.loads = 0
        self.failures = 0
        self._load_seconds: list[float] = []

    def __bool__(self) -> bool:
        """Some could be seated at the next call."""
        return bool(self._landing)

    def take_seconds(self) -> tuple[float, ...]:
        """A loader thread's time for each load from disk since the last call."""
        seconds, self._load_seconds = self._load_seconds, []
        return tuple(seconds)

    def inspect(self, key: Key) -> None:
        """Find out the size of one that the residency does not know."""
        size = self._shelf.reclaim(key)
        if size is None:
            self._intake.inspect(self._known[key].source, partial(self._inspected, key))
        else:
            self._residency.sized(key, size)

    def load(self, key: Key) -> None:
        """Bring one in whose room is reserved."""
        known = self._known[key]
        if self._shelf.lift(key, partial(self._arrived, key)):
            known.origin = "host"
            return
        known.origin = "disk"
        package, known.package = known.package, None
        self._intake.read(known.source, package, self._residency.nbytes(key), partial(self._read, key))

    def seat(self) -> None:
        """Seat those whose copy to the device is done."""
        for key in [key for key, loaded in self._landing.items() if loaded.transfer.done()]:
            loaded = self._landing.pop(key)
            self._seating.seat(key, loaded, self._known[key].origin)
            # Without the buffer that it was sent from.
            self._known[key].loaded = replace(loaded, transfer=Transfer.landed(loaded.buffer))
            self._residency.loaded(key, loaded.buffer.numel())

    def clear(self) -> None:
        """Let go of those that were not seated."""
        self._landing.clear()

    def _inspected(self, key: Key, outcome: Outcome[Package]) -> None:
        package, error = outcome.value, outcome.error
        budget = self._residency.budget
        if package is not None and package.nbytes > budget:
            reason = f"it takes {package.nbytes} bytes of memory, and all adapters together may take {budget}"
            error = AdapterTooLargeError(package.source.name, [reason])
        if package is None or error is not None:
            self._fail(key, error)
            return
        self._known[key].package, self._known[key].seconds = package, outcome.seconds
        self._residency.sized(key, package.nbytes)
        if self._residency.state(key) is None:  # nobody waits for it any more
            del self._known[key]

    def _read(self, key: Key, outcome: Outcome[LoadedAdapter]) -> None:
        known = self._known[key]
        if outcome.value is not None:
            self.loads += 1
            self._load_seconds.append(known.seconds + outcome.seconds)
        known.seconds = 0.0
        self._arrived(key, outcome)

    def _arrived(self, key: Key, outcome: Outcome[LoadedAdapter]) -> None:
        if outcome.value is None:
            self._fail(key, outcome.error)
        else:
            self._landing[key] = outcome.value

    def _fail(self, key: Key, error: AdapterError | None) -> None:
        self.failures += 1
        self._failed(key, error or AdapterError(f"adapter '{self._known[key].source.name}' cannot be loaded"))
