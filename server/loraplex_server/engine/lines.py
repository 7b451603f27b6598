"""Lines of sequences that wait, and lines of lines: the head is always that of the least served."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Container
from typing import Generic, Protocol, TypeVar

from loraplex_server.engine.fairness import Account
from loraplex_server.engine.sequence import Sequence


class Line(Protocol):
    """What lines are made of."""

    def head(self) -> Sequence | None:
        """Who is next; None where nobody is."""


_L = TypeVar("_L", bound=Line)


class Arrivals:
    """First come, first served.

    Args:
        waiting: those who wait; who left is dropped when it comes up.
    """

    def __init__(self, waiting: Container[Sequence]) -> None:
        self._waiting = waiting
        self._heap: list[tuple[int, Sequence]] = []  # a sequence's arrival is its own: no two are alike

    def add(self, sequence: Sequence) -> None:
        """In its place by arrival, which need not be the last."""
        heapq.heappush(self._heap, (sequence.arrival, sequence))

    def head(self) -> Sequence | None:
        """See Line.head."""
        while self._heap and self._heap[0][1] not in self._waiting:
            heapq.heappop(self._heap)
        return self._heap[0][1] if self._heap else None


class Lines(Generic[_L]):
    """Least served first; of equals who holds fewer seats, then who came first.

    Counters move with every token, the heap only when somebody looks: since counters never fall, an entry is a lower
    bound, and the first entry that still holds is the least.

    Args:
        whole: whose accounts these are; it outlives them.
        credit: that idling saves, at most.
        make: a new line.
    """

    def __init__(self, whole: Account, credit: float, make: Callable[[Account], _L]) -> None:
        self._whole = whole
        self._credit = credit
        self._make = make
        self._lines: dict[Account, _L] = {}
        self._heap: list[tuple[float, float, int, int, Account]] = []
        self._serials = itertools.count()
        self._entries: dict[Account, tuple[int, int]] = {}  # of each line: its head's arrival, its one valid serial

    def of(self, account: Account) -> _L:
        """The account's line; who had none waiting is lifted to the least counter of those who have, less credit."""
        line = self._lines.get(account)
        if line is None:
            account.served = max(account.served, self._least() - self._credit / account.weight)
            line = self._lines[account] = self._make(account)
        return line

    def changed(self, account: Account) -> None:
        """The line may have another head than before."""
        head = self._lines[account].head()
        if head is not None and (account not in self._entries or self._entries[account][0] != head.arrival):
            self._enter(account, head)

    def head(self) -> Sequence | None:
        """See Line.head."""
        while self._heap:
            *key, serial, account = self._heap[0]
            if account not in self._entries or self._entries[account][1] != serial:
                heapq.heappop(self._heap)
                continue
            head = self._lines[account].head()
            if head is None:
                heapq.heappop(self._heap)
                del self._lines[account], self._entries[account]
                self._whole.last = account
            elif [*account.turn, head.arrival] == key:
                return head
            else:
                heapq.heappop(self._heap)
                self._enter(account, head)
        return None

    def _enter(self, account: Account, head: Sequence) -> None:
        serial = next(self._serials)
        self._entries[account] = head.arrival, serial
        heapq.heappush(self._heap, (*account.turn, head.arrival, serial, account))

    def _least(self) -> float:
        """Of those who wait; where nobody does, of who did last."""
        if self.head() is not None:
            return self._heap[0][-1].served
        return 0.0 if self._whole.last is None else self._whole.last.served


class TenantLine:
    """Of one tenant: first those who had begun and gave way, then its adapters, the least served first.

    Args:
        tenant: whose line it is.
        credit: that an adapter saves, at most.
        waiting: those who wait.
    """

    def __init__(self, tenant: Account, credit: float, waiting: Container[Sequence]) -> None:
        self._begun = Arrivals(waiting)
        self._adapters: Lines[Arrivals] = Lines(tenant, credit, lambda _: Arrivals(waiting))

    def add(self, sequence: Sequence) -> None:
        """In its place."""
        if sequence.begun:
            self._begun.add(sequence)
            return
        account = sequence.payers.adapter
        self._adapters.of(account).add(sequence)
        self._adapters.changed(account)

    def head(self) -> Sequence | None:
        """See Line.head."""
        return self._begun.head() or self._adapters.head()
