"""The adapters in memory: what the engine leases from, and what brings them there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.errors import AdapterError, AdapterRefusedError, AdapterTooLargeError
from loraplex_adapters.lease import Lease
from loraplex_adapters.loader import Loader, Outcome
from loraplex_adapters.loading import LoadedAdapter, load
from loraplex_adapters.package import Package, inspect
from loraplex_adapters.pins import Pins
from loraplex_adapters.report import AdapterEntry, StoreStats
from loraplex_adapters.residency import Residency
from loraplex_adapters.residents import Claim, Plan, State
from loraplex_adapters.seating import Seating
from loraplex_adapters.source import AdapterSource
from loraplex_kernels.lora import AdapterTable

Key = tuple[str, str]  # path and fingerprint


@dataclass
class _Known:
    """What is known of an adapter that somebody waits for or that is in memory."""

    source: AdapterSource
    last_used: float
    package: Package | None = None  # inspected, until it loads
    seconds: float = 0.0  # that the inspection took


class AdapterStore:
    """Leases adapters, loads what is missing on its own threads, evicts what nobody uses when room is needed.

    Only `poll` touches the table, so the thread that runs the kernels calls it, between steps. All methods may be
    called from any thread, and none of them waits for a load.

    Args:
        base: the model that they adapt.
        table: all of its rows belong to the store, which adds more when it needs them.
        budget_bytes: for the weights of all adapters together.
        loader_threads: how many adapters are read at the same time.
        on_ready: called from a loader thread when there is something to poll for.
    """

    def __init__(
        self,
        *,
        base: BaseWeights,
        table: AdapterTable,
        budget_bytes: int,
        loader_threads: int = 1,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self._base = base
        self._dtype, self._device = table.dtype, table.device
        self._residency: Residency[Key] = Residency(budget_bytes)
        self._pins = Pins(self._residency)
        self._seating = Seating(table)
        self._loader = Loader(loader_threads, on_ready)
        self._lock = threading.Lock()
        self._closed = False
        self._changed = False  # a claim came or went since the last poll
        self._known: dict[Key, _Known] = {}  # of everything in the residency
        self._arriving: dict[Key, LoadedAdapter] = {}  # read, but the copy to the device may still run
        self._waiting: dict[Lease, None] = {}
        self._open = 0  # leases that hold a claim
        self._loads = 0
        self._failures = 0
        self._load_seconds: list[float] = []

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
            self._waiting.update(dict.fromkeys(leases))
            self._open += len(leases)
            self._changed = True
            self._settle(leases)
            return leases

    def release(self, lease: Lease) -> None:
        """Give a lease back, whatever its state; what it was loading stays in memory until its room is needed.

        Raises:
            ValueError: it was given back before.
        """
        with self._lock:
            if lease.released:
                raise ValueError(f"the lease on adapter '{lease.source.name}' was released before")
            lease.released = True
            self._waiting.pop(lease, None)
            if lease.error is None and not self._closed:
                self._open -= 1
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
            if self._closed or not (self._changed or self._arriving or self._loader.pending):
                return
            self._changed = False
            self._loader.collect()
            self._publish()
            self._carry_out(self._residency.advance())
            self._settle(list(self._waiting))

    def stats(self) -> StoreStats:
        """What there is, and what happened."""
        with self._lock:
            resident = self._residency.keys(State.RESIDENT)
            seconds, self._load_seconds = self._load_seconds, []
            return StoreStats(
                resident=tuple(dict.fromkeys(self._known[key].source.name for key in resident)),
                waiting=tuple(dict.fromkeys(lease.source.name for lease in self._waiting)),
                resident_bytes=self._seating.nbytes,
                loads_total=self._loads,
                load_failures_total=self._failures,
                evictions_total=self._residency.evictions,
                hits_total=self._residency.hits,
                misses_total=self._residency.misses,
                load_seconds=tuple(seconds),
                entries=tuple(self._entry(key, known) for key, known in self._known.items()),
            )

    def _entry(self, key: Key, known: _Known) -> AdapterEntry:
        state = self._residency.state(key)
        seated, sizing = state is State.RESIDENT, state is State.SIZING
        return AdapterEntry(
            name=known.source.name,
            generation=self._seating[key].generation if seated else "",
            tier="device" if seated else "loading" if state is State.LOADING else "waiting",
            nbytes=0 if sizing else self._residency.nbytes(key),
            in_flight=self._residency.in_use(key),
            last_used=known.last_used,
            pinned=self._pins.holds(key),
        )

    def check_integrity(self) -> None:
        """Raises RuntimeError where claims, leases, bytes, slots or the table disagree."""
        with self._lock:
            if self._closed:
                return
            self._residency.check_integrity()
            self._pins.check_integrity()
            resident = self._residency.keys(State.RESIDENT)
            self._seating.check_integrity(resident)
            if self._seating.nbytes != sum(self._residency.nbytes(key) for key in resident):
                raise RuntimeError(f"{self._seating.nbytes} bytes of buffers are not what was counted")
            if self._open != self._residency.claimed:
                raise RuntimeError(f"{self._open} leases are out, {self._residency.claimed} are claimed")
            known = {key for state in State for key in self._residency.keys(state)}
            if known != self._known.keys():
                raise RuntimeError(f"in memory or waited for are {sorted(known)}, known {sorted(self._known)}")

    def close(self) -> None:
        """Stop the loader and empty the table. Leases that wait fail; nothing can be requested any more."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._fail(list(self._waiting), AdapterError("the server is shutting down"))
        self._loader.close()
        with self._lock:
            self._seating.clear()
            self._arriving.clear()
            self._known.clear()

    def _welcome(self, key: Key, source: AdapterSource) -> None:
        for other, known in self._known.items():
            if source.path == known.source.path or source.name == known.source.name:
                self._residency.outdate(other)
        self._known[key] = _Known(source, time.time())
        self._loader.submit(
            source.name, partial(inspect, source, self._base.shape, self._dtype), partial(self._inspected, key)
        )

    def _inspected(self, key: Key, outcome: Outcome[Package]) -> None:
        package, error = outcome.value, outcome.error
        budget = self._residency.budget
        if package is not None and package.nbytes > budget:
            reason = f"it takes {package.nbytes} bytes of memory, and all adapters together may take {budget}"
            error = AdapterTooLargeError(package.source.name, [reason])
        if package is None or error is not None:
            self._failed(key, error)
            return
        self._known[key].package, self._known[key].seconds = package, outcome.seconds
        self._residency.sized(key, package.nbytes)
        self._forget_absent(key)

    def _start(self, key: Key) -> None:
        known, room = self._known[key], self._residency.nbytes(key)
        source, package, seconds = known.source, known.package, known.seconds
        known.package, known.seconds = None, 0.0

        def work() -> LoadedAdapter:
            return self._load(source, package, room)

        self._loader.submit(source.name, work, partial(self._loaded, key, seconds))

    def _load(self, source: AdapterSource, package: Package | None, room: int) -> LoadedAdapter:
        """On a loader thread. There is no package after an eviction, and an old one where the files were replaced."""
        if package is None or not package.unchanged():
            package = inspect(source, self._base.shape, self._dtype)
        if package.nbytes > room:
            raise AdapterError(
                f"adapter '{source.name}' was replaced by a larger one while it waited for room; send the request again"
            )
        return load(package, self._device, self._base)

    def _loaded(self, key: Key, seconds: float, outcome: Outcome[LoadedAdapter]) -> None:
        if outcome.value is None:
            self._failed(key, outcome.error)
            return
        self._loads += 1
        self._load_seconds.append(seconds + outcome.seconds)
        self._arriving[key] = outcome.value

    def _failed(self, key: Key, error: AdapterError | None) -> None:
        self._failures += 1
        error = error or AdapterError(f"adapter '{self._known[key].source.name}' cannot be loaded")
        self._cancel(self._residency.failed(key), error)
        self._forget_absent(key)

    def _publish(self) -> None:
        for key in [key for key, loaded in self._arriving.items() if loaded.transfer.done()]:
            loaded = self._arriving.pop(key)
            self._seating.seat(key, loaded)
            self._residency.loaded(key, loaded.layout.nbytes)

    def _carry_out(self, plan: Plan[Key]) -> None:
        for key in plan.evict:
            self._loader.discard(self._seating.unseat(key))
            self._forget_absent(key)
        for key in plan.load:
            self._start(key)
        for claim in plan.impossible:
            names = [lease.source.name for lease in self._waiting if lease.claim is claim]
            self._cancel([claim], AdapterTooLargeError(" + ".join(names), [self._no_room(len(names))]))

    def _no_room(self, count: int) -> str:
        budget, pinned = self._residency.budget, self._residency.pinned_bytes
        needed = "they are needed together, and" if count > 1 else "it does not fit:"
        beside = f", of which adapters that are pinned take {pinned}" if pinned else ""
        return f"{needed} all adapters together may take {budget} bytes of memory{beside}"

    def _cancel(self, claims: Sequence[Claim[Key]], error: AdapterError) -> None:
        self._fail([lease for lease in self._waiting if lease.claim in claims], error)

    def _fail(self, leases: Sequence[Lease], error: AdapterError) -> None:
        self._open -= len(leases)
        for lease in leases:
            lease.error = error
            del self._waiting[lease]
            self._forget_absent(lease.key)

    def _settle(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            if self._residency.ready(lease.claim):
                lease.seat(self._seating[lease.key])
                del self._waiting[lease]

    def _forget_absent(self, key: Key) -> None:
        if self._residency.state(key) is None:
            self._known.pop(key, None)
