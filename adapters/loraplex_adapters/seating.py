"""Which adapter sits in which row of the table."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial

from torch import Tensor

from loraplex_adapters.loading import LoadedAdapter
from loraplex_adapters.peers import NOBODY, Peers
from loraplex_adapters.report import Origin
from loraplex_adapters.seat import Seat
from loraplex_adapters.terms import Terms
from loraplex_kernels.lora import AdapterTable

Key = Hashable


class Seating:
    """Rows are given out and taken back; the table grows when there is none.

    Args:
        table: all of its rows are free, and belong to the seating.
        peers: have tables with the same rows.
    """

    def __init__(self, table: AdapterTable, peers: Peers = NOBODY) -> None:
        self._table = table
        self._peers = peers
        self._free = list(reversed(range(table.slots)))
        self._seats: dict[Key, Seat] = {}
        self._buffers: dict[Key, Tensor] = {}
        self._terms: dict[Key, Terms] = {}

    def __getitem__(self, key: Key) -> Seat:
        return self._seats[key]

    @property
    def nbytes(self) -> int:
        """Of all that sit."""
        return sum(buffer.numel() for buffer in self._buffers.values())

    def seat(self, key: Key, loaded: LoadedAdapter, origin: Origin = "disk") -> None:
        """Put an adapter into a free row. Args: origin: where it came from."""
        if not self._free:
            slots = self._table.slots
            self._table.grow(2 * slots)
            self._free = list(reversed(range(slots, 2 * slots)))
        slot = self._free.pop()
        self._table.install(slot, loaded.layout, loaded.buffer)
        self._peers.seat(slot, loaded.number)
        self._buffers[key] = loaded.buffer
        self._terms[key] = loaded.terms
        self._seats[key] = Seat(
            slot=slot,
            generation=loaded.generation,
            magnitude=loaded.magnitude,
            low_rank=_rank(loaded) > 0,
            head=self._table.rank.shape[1] - 1 in loaded.touches or loaded.traits.head,
            traits=loaded.traits,
            origin=origin,
            terms=partial(self.terms, key),
        )

    def terms(self, key: Key) -> Terms:
        """What an adapter does beyond low rank, as long as it sits.

        Raises:
            RuntimeError: it does not.
        """
        if key not in self._terms:
            raise RuntimeError(f"adapter {key} is not in memory any more")
        return self._terms[key]

    def unseat(self, key: Key, number: int = 0) -> Callable[[], None]:
        """Empty an adapter's row.

        Args:
            key: of the adapter.
            number: under which the peers keep their parts of it on the host; 0: they do not.

        Returns:
            What lets go of the buffer: to be called where the milliseconds that this takes hurt nobody.
        """
        slot = self._seats.pop(key).slot
        # And no other reference: the call must be the one that frees. The terms are views of the buffer.
        holder: list[object] = [self._buffers.pop(key), self._terms.pop(key)]
        self._table.clear(slot)
        self._peers.unseat(slot, number)
        self._free.append(slot)
        return holder.clear

    def clear(self) -> None:
        """Empty all rows."""
        for key in list(self._seats):
            self.unseat(key)()

    def check_integrity(self, resident: Iterable[Key]) -> None:
        """Raises RuntimeError where rows, buffers, terms and what should be in memory disagree."""
        if set(resident) != self._seats.keys():
            raise RuntimeError(f"{sorted(map(str, resident))} should sit, {sorted(map(str, self._seats))} do")
        slots = sorted([*self._free, *(seat.slot for seat in self._seats.values())])
        if slots != list(range(self._table.slots)):
            raise RuntimeError(f"the table has {self._table.slots} rows, given out or free are {slots}")
        taken = (self._table.rank > 0).any(dim=1).nonzero().flatten().tolist()
        if taken != sorted(seat.slot for seat in self._seats.values() if seat.low_rank):
            raise RuntimeError(f"rows {taken} of the table are filled, not those of the adapters with low rank")
        if not self._buffers.keys() == self._terms.keys() == self._seats.keys():
            raise RuntimeError(f"{len(self._buffers)} buffers, {len(self._terms)} terms, {len(self._seats)} adapters")


def _rank(loaded: LoadedAdapter) -> int:
    return max((placement.shape.rank for placement in loaded.layout.placements), default=0)
