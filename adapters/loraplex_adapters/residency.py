"""Which adapters are in memory, under a budget of bytes. Plain Python: who may be in is decided here, by numbers only.

A claim asks for one or more adapters, all of them at once. It is granted when all are in memory or have their room
reserved; from then on they stay, until they are released. A claim that waits holds nothing, so two claims can never
wait for each other.

Fairness: claims that need room get it in the order of their coming, and none that came later takes room that the
first one in the queue waits for. Claims on what is in memory already go through at once, except on those adapters
that have to leave for the first in the queue: these stop taking new claims, so they run empty, and nobody starves.

What is pinned never leaves, so a claim that does not fit beside all pins is impossible, and is told so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Generic

from loraplex_adapters.policy import Policy, Popularity
from loraplex_adapters.residents import Claim, Entry, K, Plan, State


class Residency(Generic[K]):
    """The state of every adapter that is in memory, on its way in, or waited for.

    Sizes become known only once an adapter's header was read, so its way is: `claim`, `sized`, `advance` (reserves its
    room), `loaded`. What `advance` says must be carried out: its evictions before its loads.

    Args:
        budget: bytes, for all adapters in memory or being loaded.
        policy: who leaves first when room is needed; by default one of its own.
    """

    def __init__(self, budget: int, policy: Policy[K] | None = None) -> None:
        self.budget = budget
        self.used = 0  # bytes of entries that are loading or resident
        self.hits = 0  # claimed keys that were in memory
        self.misses = 0
        self.evictions = 0
        self._entries: dict[K, Entry[K]] = {}
        self._queue: dict[Claim[K], None] = {}  # not granted, in order
        self._granted: set[Claim[K]] = set()
        self._policy: Policy[K] = Popularity() if policy is None else policy

    def state(self, key: K) -> State | None:
        """None: not in memory, and nobody waits for it."""
        entry = self._entries.get(key)
        return None if entry is None else entry.state

    def nbytes(self, key: K) -> int:
        """Size of a key that was sized."""
        return self._in_state(key, State.SIZED, State.LOADING, State.RESIDENT).nbytes

    def keys(self, state: State) -> list[K]:
        """All in that state, in the order in which they were first claimed."""
        return [key for key, entry in self._entries.items() if entry.state is state]

    def ready(self, claim: Claim[K]) -> bool:
        """Granted, and everything it asked for is in memory."""
        return claim in self._granted and all(self._entries[key].state is State.RESIDENT for key in claim.keys)

    def claim(self, keys: Sequence[K]) -> tuple[Claim[K], list[K]]:
        """Ask for adapters.

        Returns:
            The claim, and the keys that nobody knew: their sizes are to be found out now.
        """
        claim = Claim(list(keys))
        unknown = [key for key in dict.fromkeys(keys) if key not in self._entries]
        for key in unknown:
            self._entries[key] = Entry(key)
        for entry in self._of(claim):
            entry.wanted += 1
            entry.outdated = False
            resident = entry.state is State.RESIDENT
            self.hits += resident
            self.misses += not resident
        self._queue[claim] = None
        if all(entry.held and not entry.leaving for entry in self._of(claim)):
            self._grant(claim)
        return claim, unknown

    def release(self, claim: Claim[K], key: K) -> None:
        """Give one of a claim's keys back. A claim without keys is gone."""
        if key not in claim.keys or (claim not in self._granted and claim not in self._queue):
            raise ValueError(f"{key!r} is not held by this claim")
        claim.keys.remove(key)
        self._let_go(self._entries[key], claim in self._granted)
        if not claim.keys:
            self._forget(claim)

    def sized(self, key: K, nbytes: int) -> None:
        """The size of a key that `claim` called unknown."""
        entry = self._in_state(key, State.SIZING)
        entry.nbytes, entry.state = nbytes, State.SIZED
        self._drop_unwanted(entry)

    def loaded(self, key: K, nbytes: int) -> None:
        """What `advance` told to load is in memory, and takes no more than was reserved."""
        entry = self._in_state(key, State.LOADING)
        if nbytes > entry.nbytes:
            raise ValueError(f"{key!r} takes {nbytes} bytes, {entry.nbytes} were reserved")
        self.used -= entry.nbytes - nbytes
        entry.nbytes, entry.state = nbytes, State.RESIDENT

    def failed(self, key: K) -> list[Claim[K]]:
        """A key cannot be sized or loaded: it is forgotten, and so are the claims on it, which are returned."""
        entry = self._in_state(key, State.SIZING, State.LOADING)
        if entry.held:
            self.used -= entry.nbytes
        entry.state = State.SIZED  # holds nothing, and goes with its last claim
        failed = [claim for claim in (*self._granted, *self._queue) if key in claim.keys]
        for claim in failed:
            self._cancel(claim)
        self._drop_unwanted(entry)
        return failed

    def outdate(self, key: K) -> None:
        """Whoever asks next will ask for a newer version: this one goes with its last claim, unless another comes."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.outdated = True

    def advance(self) -> Plan[K]:
        """Grant what can be granted, in order, and make room for the first that cannot."""
        plan: Plan[K] = Plan()
        for entry in [entry for entry in self._entries.values() if entry.outdated and entry.idle and not entry.wanted]:
            self._evict(entry, plan.drop)
        chosen = {entry for entry in self._entries.values() if entry.leaving}
        for entry in chosen:
            entry.leaving = False
        most = self.budget - self.pinned_bytes
        blocked = False  # a claim ahead waits for room
        for claim in list(self._queue):
            entries = list(dict.fromkeys(self._of(claim)))
            if any(entry.state is State.SIZING or entry.leaving for entry in entries):
                continue
            if _unpinned(entries) > most:
                self._cancel(claim)
                plan.impossible.append(claim)
                continue
            need = sum(entry.nbytes for entry in entries if not entry.held)
            if need and blocked:
                continue
            if self._make_room(need, entries, plan):
                self._reserve(entries, plan)
                self._grant(claim)
            else:
                blocked = True
                self._stop_claims(need, entries, chosen)
        return plan

    def pin(self, key: K) -> None:
        """Never evict it, as long as it has as many `unpin` to come."""
        self._in_state(key, State.RESIDENT).pins += 1

    def unpin(self, key: K) -> None:
        """Take one pin away."""
        entry = self._in_state(key, State.RESIDENT)
        if not entry.pins:
            raise ValueError(f"{key!r} is not pinned")
        entry.pins -= 1

    @property
    def pinned(self) -> dict[K, int]:
        """Keys that have pins, and how many."""
        return {key: entry.pins for key, entry in self._entries.items() if entry.pins}

    @property
    def pinned_bytes(self) -> int:
        """What pins take of the budget."""
        return sum(entry.nbytes for entry in self._entries.values() if entry.pins)

    def largest_need(self, pinned: Collection[K]) -> int:
        """Bytes that have to be there beside pins on these: for the largest claim, the largest adapter."""
        claims = (
            sum(self._entries[key].nbytes for key in set(claim.keys) if key not in pinned)
            for claim in (*self._granted, *self._queue)
        )
        single = (entry.nbytes for key, entry in self._entries.items() if key not in pinned and not entry.outdated)
        return max((*claims, *single), default=0)

    def in_use(self, key: K) -> int:
        """How often claims have it, waiting and granted."""
        entry = self._entries[key]
        return entry.users + entry.wanted

    @property
    def claimed(self) -> int:
        """Keys of all claims, waiting and granted."""
        return sum(entry.users + entry.wanted for entry in self._entries.values())

    def check_integrity(self) -> None:
        """Raises RuntimeError where bytes, pins or claims disagree."""
        held = sum(entry.nbytes for entry in self._entries.values() if entry.held)
        if held != self.used or self.used > self.budget:
            raise RuntimeError(f"{held} bytes are held, {self.used} counted, {self.budget} allowed")
        for key, entry in self._entries.items():
            users = sum(claim.keys.count(key) for claim in self._granted)
            wanted = sum(claim.keys.count(key) for claim in self._queue)
            if (users, wanted) != (entry.users, entry.wanted):
                raise RuntimeError(
                    f"{key!r} counts {entry.users} in use, {entry.wanted} waiting, not {users}, {wanted}"
                )
            if (users and not entry.held) or (entry.state is State.SIZED and not wanted):
                raise RuntimeError(f"{key!r} is {entry.state.value} with {users} in use and {wanted} waiting")
            if entry.pins and entry.state is not State.RESIDENT:
                raise RuntimeError(f"{key!r} is {entry.state.value} and pinned")

    def _of(self, claim: Claim[K]) -> list[Entry[K]]:
        return [self._entries[key] for key in claim.keys]

    def _in_state(self, key: K, *states: State) -> Entry[K]:
        entry = self._entries.get(key)
        if entry is None or entry.state not in states:
            raise ValueError(f"{key!r} is not {' or '.join(state.value for state in states)}")
        return entry

    def _grant(self, claim: Claim[K]) -> None:
        del self._queue[claim]
        self._granted.add(claim)
        for entry in self._of(claim):
            entry.wanted -= 1
            entry.users += 1
        for key in dict.fromkeys(claim.keys):
            self._policy.used(key)

    def _cancel(self, claim: Claim[K]) -> None:
        granted = claim in self._granted
        self._forget(claim)
        for entry in self._of(claim):
            self._let_go(entry, granted)

    def _forget(self, claim: Claim[K]) -> None:
        self._queue.pop(claim, None)
        self._granted.discard(claim)

    def _let_go(self, entry: Entry[K], granted: bool) -> None:
        if granted:
            entry.users -= 1
        else:
            entry.wanted -= 1
        self._drop_unwanted(entry)

    def _drop_unwanted(self, entry: Entry[K]) -> None:
        # One that is being sized has an answer coming, one that is held stays until its room is needed.
        if entry.state is State.SIZED and not entry.wanted and not entry.users:
            self._entries.pop(entry.key, None)

    def _make_room(self, need: int, keep: Sequence[Entry[K]], plan: Plan[K]) -> bool:
        """Evict what nobody uses or pinned, the least worth first, until there is room; say whether there is."""
        if not need:
            return True
        for entry in self._by_worth(keep):
            if self.budget - self.used >= need:
                break
            if entry.idle:
                self._evict(entry, plan.evict)
                self.evictions += 1
        return self.budget - self.used >= need

    def _evict(self, entry: Entry[K], evicted: list[K]) -> None:
        self.used -= entry.nbytes
        entry.state = State.SIZED
        evicted.append(entry.key)
        self._drop_unwanted(entry)

    def _reserve(self, entries: Iterable[Entry[K]], plan: Plan[K]) -> None:
        for entry in entries:
            if not entry.held:
                self.used += entry.nbytes
                entry.state = State.LOADING
                plan.load.append(entry.key)

    def _stop_claims(self, need: int, keep: Sequence[Entry[K]], chosen: set[Entry[K]]) -> None:
        """Choose what has to leave for the first in the queue: those that nobody uses yet, then the least worth.

        Those `chosen` before stay so, though each use makes others worth less: else the choice could go round for ever.
        """
        coming = self.budget - self.used
        for entry in sorted(self._by_worth(keep), key=lambda entry: (entry not in chosen, entry.users > 0)):
            if coming >= need:
                break
            if entry.pins:
                continue
            entry.leaving = True
            coming += entry.nbytes

    def _by_worth(self, keep: Sequence[Entry[K]]) -> list[Entry[K]]:
        held = [entry for entry in self._entries.values() if entry.held and entry not in keep]
        worth = self._policy.worth
        return sorted(held, key=lambda entry: (not entry.outdated, worth(entry.key, entry.nbytes)))


def _unpinned(entries: Iterable[Entry[K]]) -> int:
    return sum(entry.nbytes for entry in entries if not entry.pins)
