"""Who holds what is short, and who of them gives way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from loraplex_server.engine.fairness import Account
from loraplex_server.engine.sequence import Sequence


class Holdings:
    """Of seats, or of blocks. The last class of priority gives way first; in it the tenant that holds most for its
    weight, and of that one the sequence that came last.

    Args:
        holders: sequences that hold some.
        size: how much.
    """

    def __init__(self, holders: Iterable[Sequence], size: Callable[[Sequence], int]) -> None:
        self._holders = sorted(holders, key=lambda sequence: (sequence.share.priority, sequence.arrival))
        self._size = size
        self._held: dict[Account, int] = defaultdict(int)
        for sequence in self._holders:
            self._held[sequence.payers.tenant] += size(sequence)

    def heaviest(self) -> Sequence:
        """Who gives way first."""
        last = self._holders[-1].share.priority
        best, best_load = self._holders[-1], -1.0
        seen = set[Account]()
        for sequence in reversed(self._holders):
            if sequence.share.priority != last:
                break
            tenant = sequence.payers.tenant
            if tenant not in seen and self._load(tenant) > best_load:
                best, best_load = sequence, self._load(tenant)
            seen.add(tenant)
        return best

    def victims(self, head: Sequence, count: int, will_hold: int, margin: float = 1.0) -> list[Sequence]:
        """Who must give way so that one who waits gets `count` more; empty where not enough of them must.

        Who has a later class must. In the same class it is another tenant that must, if it was served no less, and
        holds more for its weight than the one who waits will: so nobody gives way to and fro.

        Args:
            head: who waits.
            count: that it lacks.
            will_hold: what it holds itself then.
            margin: how many times as much the other tenant must hold, where giving way loses work.
        """
        victims: list[Sequence] = []
        gained = 0
        while gained < count:
            if not self._holders:
                return []
            victim = self.heaviest()
            if not self._must_yield(victim, head, will_hold, margin):
                return []
            victims.append(victim)
            self._holders.remove(victim)
            self._held[victim.payers.tenant] -= self._size(victim)
            gained += self._size(victim)
        return victims

    def _must_yield(self, holder: Sequence, head: Sequence, will_hold: int, margin: float) -> bool:
        if holder.share.priority != head.share.priority:
            return holder.share.priority > head.share.priority
        theirs, ours = holder.payers.tenant, head.payers.tenant
        if theirs is ours or theirs.served < ours.served:
            return False
        return self._load(theirs) > margin * (self._held[ours] + will_hold) / ours.weight

    def _load(self, tenant: Account) -> float:
        return self._held[tenant] / tenant.weight
