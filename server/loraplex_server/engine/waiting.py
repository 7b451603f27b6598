"""Who waits, and who is next."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from loraplex_server.engine.fairness import Account, VirtualCounters
from loraplex_server.engine.lines import Lines, TenantLine
from loraplex_server.engine.sequence import Sequence


class WaitingQueue:
    """Classes of priority, strictly one before the other; in a class the least served tenant, of it the least served
    adapter, of that who came first. One tenant with one adapter is served first come, first served.

    Whoever is held (its adapter still loads) has its place by arrival, and is in nobody's way.

    Args:
        counters: of what was served.
        credit: that idling saves, at most, in cost of tokens.
    """

    def __init__(self, counters: VirtualCounters, credit: float) -> None:
        self._counters = counters
        self._credit = credit
        self._all = Account()  # that the tenants are part of
        self._arrivals = itertools.count()
        self._waiting: dict[Sequence, None] = {}
        self._held: set[Sequence] = set()  # of these
        self._classes: dict[int, Lines[TenantLine]] = {}
        self._priorities: list[int] = []  # a heap of the classes' keys

    def __len__(self) -> int:
        """All who wait, the held among them."""
        return len(self._waiting)

    def __contains__(self, sequence: object) -> bool:
        """Whether it waits."""
        return sequence in self._waiting

    @property
    def num_held(self) -> int:
        """Of all who wait, those that lack something of their own: no room would help them."""
        return len(self._held)

    def __iter__(self) -> Iterator[Sequence]:
        """By arrival."""
        return iter(sorted(self._waiting, key=lambda sequence: sequence.arrival))

    def hold(self, sequence: Sequence) -> None:
        """A sequence came that cannot run yet; `put` it once it can."""
        share = sequence.share
        sequence.payers = self._counters.enter(share.tenant, sequence.group, share.weight)
        sequence.arrival = next(self._arrivals)
        self._waiting[sequence] = None
        self._held.add(sequence)

    def put(self, sequence: Sequence) -> None:
        """A sequence that was held, or gave way, could run."""
        self._waiting[sequence] = None
        self._held.discard(sequence)
        priority = sequence.share.priority
        tenants = self._classes.get(priority)
        if tenants is None:
            tenants = self._classes[priority] = Lines(self._all, self._credit, self._line)
            heapq.heappush(self._priorities, priority)
        account = sequence.payers.tenant
        tenants.of(account).add(sequence)
        tenants.changed(account)

    def _line(self, tenant: Account) -> TenantLine:
        return TenantLine(tenant, self._credit, self._waiting)

    def take(self, sequence: Sequence) -> None:
        """It waits no longer."""
        del self._waiting[sequence]

    def forget(self, sequence: Sequence) -> None:
        """It ended, wherever it was. With the last one all begins anew: nobody waited for what was served."""
        self._waiting.pop(sequence, None)
        self._held.discard(sequence)
        self._counters.leave(sequence.payers)
        if not self._counters:
            self._classes.clear()
            self._priorities.clear()
            self._all.last = None

    def head(self) -> Sequence | None:
        """Who is next; None where nobody could run."""
        while self._priorities:
            head = self._classes[self._priorities[0]].head()
            if head is not None:
                return head
            del self._classes[heapq.heappop(self._priorities)]
        return None
