"""The adapters in memory: what the engine leases from, and what brings them there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from loraplex_adapters.arrivals import Arrivals
from loraplex_adapters.base import BaseWeights
from loraplex_adapters.errors import AdapterError, AdapterRefusedError, AdapterTooLargeError
from loraplex_adapters.host_memory import HostMemory
from loraplex_adapters.host_tier import HostTier
from loraplex_adapters.intake import Intake
from loraplex_adapters.known import Key, Known
from loraplex_adapters.lease import Lease
from loraplex_adapters.leases import Leases
from loraplex_adapters.loader import Loader
from loraplex_adapters.peers import NOBODY, Peers
from loraplex_adapters.pinned_memory import PinnedMemory
from loraplex_adapters.pins import Pins
from loraplex_adapters.policy import Popularity
from loraplex_adapters.report import AdapterEntry, StoreStats, Tier
from loraplex_adapters.residency import Residency
from loraplex_adapters.residents import Claim, Plan, State
from loraplex_adapters.seat import Seat
from loraplex_adapters.seating import Seating
from loraplex_adapters.shard import Shard
from loraplex_adapters.shelf import Shelf
from loraplex_adapters.source import AdapterSource
from loraplex_kernels.lora import AdapterTable

IN_TRANSIT = 1 << 30  # pinned beside the host tier, for adapters between the disk and a GPU
SLACK = 8  # an eighth more address space than adapters may take: what is free lies between them, in pieces
_TIERS: dict[State | None, Tier] = {State.RESIDENT: "device", State.LOADING: "loading"}


class AdapterStore:
    """Leases adapters, loads what is missing on its own threads, evicts what nobody uses when room is needed.

    Only `poll` touches the table, so the thread that runs the kernels calls it, between steps. All methods may be
    called from any thread, and none of them waits for a load.

    Args:
        base: the model that they adapt.
        table: all of its rows belong to the store, which adds more when it needs them.
        budget_bytes: for the weights of all adapters together.
        host_budget_bytes: for those that left the device and are kept in host memory, on top of the other budget.
        claim: whether the host's memory for them is claimed now: on a CPU that of both, else that of those that left.
        loader_threads: how many adapters are read at the same time.
        on_ready: called from a loader thread when there is something to poll for.
        shard: what of each adapter is kept here; None: all of it.
        peers: the ranks that keep the rest, read with this one and put it into the same rows.
    """

    def __init__(
        self,
        *,
        base: BaseWeights,
        table: AdapterTable,
        budget_bytes: int,
        host_budget_bytes: int = 0,
        claim: bool = False,
        loader_threads: int = 1,
        on_ready: Callable[[], None] | None = None,
        shard: Shard | None = None,
        peers: Peers = NOBODY,
    ) -> None:
        popularity: Popularity[Key] = Popularity()
        self._residency: Residency[Key] = Residency(budget_bytes, popularity)
        self._pins = Pins(self._residency)
        self._seating = Seating(table, peers)
        allocate = _allocator(table.device, budget_bytes, host_budget_bytes, claim)
        self._intake = Intake(base, table, Loader(loader_threads, on_ready), allocate, shard, peers)
        self._shelf = Shelf(HostTier(host_budget_bytes, popularity), self._intake, peers)
        self._lock = threading.Lock()
        self._closed = False
        self._changed = False  # a claim came or went since the last poll
        self._known: dict[Key, Known] = {}  # of everything in the residency
        self._arrivals = Arrivals(self._residency, self._known, self._shelf, self._intake, self._seating, self._failed)
        self._leases = Leases()

    def request(self, source: AdapterSource) -> Lease:
        """Lease an adapter. Returns at once; loading starts where it is not in memory or on its way."""
        return self.request_all([source])[0]

    def request_all(self, sources: Sequence[AdapterSource]) -> list[Lease]:
        """Lease several adapters that are needed together: all are ready at once, or all fail.

        One request that mixes adapters must ask for them in one call. Asked for one by one, those that came first
        would stay in memory while it waits for the rest, and two such requests could wait for each other for ever.

        Raises:
            RuntimeError: the store is closed.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the adapter store is closed")
            claim, unknown = self._residency.claim([(source.path, source.fingerprint) for source in sources])
            leases = [Lease(source, claim) for source in sources]
            for lease in leases:
                if lease.key in unknown and lease.key not in self._known:
                    self._welcome(lease.key, lease.source)
                self._known[lease.key].last_used = time.time()
                lease.was_there = self._residency.state(lease.key) is State.RESIDENT
            self._leases.add(leases)
            self._changed = True
            self._leases.settle(leases, self._seat_of)
            return leases

    def release(self, lease: Lease) -> None:
        """Give a lease back, whatever its state; what it was loading stays in memory until its room is needed.

        Raises:
            ValueError: it was given back before.
        """
        with self._lock:
            if self._leases.give_back(lease) and not self._closed:
                self._residency.release(lease.claim, lease.key)
                self._known[lease.key].last_used = time.time()
                self._forget_absent(lease.key)
                self._changed = True

    def pin(self, lease: Lease) -> None:
        """Keep what a ready lease holds, under its name, also when the lease is given back.

        A name pins one adapter: what it pinned before was its former content, and goes first when room is needed.

        Raises:
            AdapterRefusedError: too little would be left for all others.
        """
        with self._lock:
            name = lease.source.name
            problem = self._pins.problem(name, lease.key)
            if problem is not None:
                raise AdapterRefusedError(name, [problem])
            old = self._pins.move(name, lease.key)
            if old is not None and not self._pins.holds(old):
                self._residency.outdate(old)
            self._changed = True

    def nbytes(self, lease: Lease) -> int:
        """What a ready lease's adapter takes in memory."""
        with self._lock:
            return self._residency.nbytes(lease.key)

    def unpin(self, name: str) -> None:
        """Take a name's pin away, if it has one."""
        with self._lock:
            if not self._closed:
                self._pins.remove(name)
                self._changed = True

    def poll(self) -> None:
        """Take in what was loaded, evict, and start the loads for which there is room now. Never waits."""
        with self._lock:
            if self._closed or not (self._changed or self._arrivals or self._intake.pending):
                return
            self._changed = False
            self._intake.collect()
            self._arrivals.seat()
            self._carry_out(self._residency.advance())
            self._arrivals.seat()  # what came from the host at once
            self._leases.settle(self._leases.waiting, self._seat_of)

    def stats(self) -> StoreStats:
        """What there is, and what happened."""
        with self._lock:
            resident = self._residency.keys(State.RESIDENT)
            return StoreStats(
                resident=tuple(dict.fromkeys(self._known[key].source.name for key in resident)),
                waiting=tuple(dict.fromkeys(lease.source.name for lease in self._leases.waiting)),
                resident_bytes=self._seating.nbytes,
                host_bytes=self._shelf.tier.used,
                loads_total=self._arrivals.loads,
                host_loads_total=self._shelf.loads,
                load_failures_total=self._arrivals.failures,
                evictions_total=self._residency.evictions,
                host_evictions_total=self._shelf.tier.evictions,
                hits_total=self._residency.hits,
                host_hits_total=self._shelf.hits,
                misses_total=self._residency.misses,
                load_seconds=self._arrivals.take_seconds(),
                entries=tuple(self._entries()),
            )

    def _entries(self) -> Iterator[AdapterEntry]:
        residency = self._residency
        for key, known in self._known.items():
            state = residency.state(key)
            size = 0 if state is State.SIZING else residency.nbytes(key)
            yield known.entry(_TIERS.get(state, "waiting"), size, residency.in_use(key), self._pins.holds(key))
        for key, known in self._shelf.items():
            if key not in self._known:
                yield known.entry("host", self._shelf.tier.nbytes(key) or 0)

    def check_integrity(self) -> None:
        """Raises RuntimeError where claims, leases, bytes, slots or the table disagree."""
        with self._lock:
            if self._closed:
                return
            self._residency.check_integrity()
            self._pins.check_integrity()
            self._shelf.check_integrity()
            resident = self._residency.keys(State.RESIDENT)
            self._seating.check_integrity(resident)
            if self._seating.nbytes != sum(self._residency.nbytes(key) for key in resident):
                raise RuntimeError(f"{self._seating.nbytes} bytes of buffers are not what was counted")
            if self._leases.open != self._residency.claimed:
                raise RuntimeError(f"{self._leases.open} leases are out, {self._residency.claimed} are claimed")
            known = {key for state in State for key in self._residency.keys(state)}
            if known != self._known.keys():
                raise RuntimeError(f"in memory or waited for are {sorted(known)}, known {sorted(self._known)}")
            if {key for key in self._known if self._known[key].loaded is not None} != set(resident):
                raise RuntimeError("the weights that are held are not those that are in memory")
            if any(key in self._shelf.tier for key in (*resident, *self._residency.keys(State.LOADING))):
                raise RuntimeError("an adapter is on the device and in the host tier")

    def close(self) -> None:
        """Stop the loader and empty the table. Leases that wait fail; nothing can be requested any more."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._leases.fail(self._leases.waiting, AdapterError("the server is shutting down"))
        self._intake.close()
        with self._lock:
            self._seating.clear()
            self._arrivals.clear()
            self._known.clear()
            self._shelf.clear()

    def _welcome(self, key: Key, source: AdapterSource) -> None:
        for other in [other for other, known in self._known.items() if known.outdates(source)]:
            self._residency.outdate(other)
        self._shelf.outdate(source)
        self._known[key] = Known(source)
        self._arrivals.inspect(key)

    def _failed(self, key: Key, error: AdapterError) -> None:
        self._cancel(self._residency.failed(key), error)
        self._forget_absent(key)

    def _carry_out(self, plan: Plan[Key]) -> None:
        self._shelf.set_aside(plan.load)
        for key in (*plan.drop, *plan.evict):
            known = self._known[key]
            number = self._shelf.put(key, known) if key in plan.evict else 0
            holder = [self._seating.unseat(key, number), known.loaded]
            known.loaded = None
            self._intake.discard(holder)
            self._forget_absent(key)
        for key in plan.load:
            self._arrivals.load(key)
        for claim in plan.impossible:
            names = [lease.source.name for lease in self._leases.of(claim)]
            self._cancel([claim], AdapterTooLargeError(" + ".join(names), [self._no_room(len(names))]))

    def _no_room(self, count: int) -> str:
        budget, pinned = self._residency.budget, self._residency.pinned_bytes
        needed = "they are needed together, and" if count > 1 else "it does not fit:"
        beside = f", of which adapters that are pinned take {pinned}" if pinned else ""
        return f"{needed} all adapters together may take {budget} bytes of memory{beside}"

    def _cancel(self, claims: Sequence[Claim[Key]], error: AdapterError) -> None:
        leases = [lease for claim in claims for lease in self._leases.of(claim)]
        self._leases.fail(leases, error)
        for lease in leases:
            self._forget_absent(lease.key)

    def _seat_of(self, lease: Lease) -> Seat | None:
        return self._seating[lease.key] if self._residency.ready(lease.claim) else None

    def _forget_absent(self, key: Key) -> None:
        if self._residency.state(key) is None:
            self._known.pop(key, None)


def _allocator(device: torch.device, budget: int, host_budget: int, claim: bool) -> Callable[[int], Tensor]:
    """Memory on the host. On a CPU the tiers are the same, and adapters move between them without being copied."""
    if device.type != "cpu":
        return PinnedMemory(host_budget + IN_TRANSIT, claim=host_budget if claim else 0).buffer
    nbytes = budget + host_budget
    return HostMemory(nbytes + nbytes // SLACK, claim=nbytes if claim else 0).buffer
