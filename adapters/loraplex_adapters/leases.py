"""The leases that are out, and those among them that wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from loraplex_adapters.errors import AdapterError
from loraplex_adapters.lease import Lease
from loraplex_adapters.residents import Claim
from loraplex_adapters.seat import Seat

Key = tuple[str, str]


class Leases:
    """Counts leases from `add` to `give_back` or `fail`."""

    def __init__(self) -> None:
        self.open = 0  # that hold a claim
        self._waiting: dict[Lease, None] = {}

    @property
    def waiting(self) -> list[Lease]:
        """In the order of their coming."""
        return list(self._waiting)

    def add(self, leases: Iterable[Lease]) -> None:
        """New ones, which wait."""
        for lease in leases:
            self._waiting[lease] = None
            self.open += 1

    def give_back(self, lease: Lease) -> bool:
        """Mark one as released. Returns whether it held its claim until now.

        Raises:
            ValueError: it was given back before.
        """
        if lease.released:
            raise ValueError(f"the lease on adapter '{lease.source.name}' was released before")
        lease.released = True
        self._waiting.pop(lease, None)
        held = lease.error is None
        self.open -= held
        return held

    def of(self, claim: Claim[Key]) -> list[Lease]:
        """Those of a claim that wait."""
        return [lease for lease in self._waiting if lease.claim is claim]

    def fail(self, leases: Iterable[Lease], error: AdapterError) -> None:
        """Some that wait never will be ready."""
        for lease in leases:
            lease.error = error
            del self._waiting[lease]
            self.open -= 1

    def settle(self, leases: Iterable[Lease], seat_of: Callable[[Lease], Seat | None]) -> None:
        """Tell those that are ready where their adapter sits."""
        for lease in leases:
            seat = seat_of(lease)
            if seat is not None:
                lease.seat(seat)
                del self._waiting[lease]
