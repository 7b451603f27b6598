"""The adapters in memory: what the engine leases from, and what brings them there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.errors import AdapterError, AdapterTooLargeError
from loraplex_adapters.lease import Lease
from loraplex_adapters.loader import Loader, Outcome
from loraplex_adapters.loading import LoadedAdapter, load
from loraplex_adapters.package import Package, inspect
from loraplex_adapters.residency import Residency
from loraplex_adapters.residents import Claim, Plan, State
from loraplex_adapters.seating import Seating
from loraplex_adapters.source import AdapterSource
from loraplex_kernels.lora import AdapterTable

Key = tuple[str, str]  # path and fingerprint


@dataclass(frozen=True)
class StoreStats:
    """The store at one moment; totals count from its start."""

    resident: tuple[str, ...]  # names in memory
    waiting: tuple[str, ...]  # names that leases wait for
    resident_bytes: int
    loads_total: int
    load_failures_total: int
    evictions_total: int
    hits_total: int
    misses_total: int
    load_seconds: tuple[float, ...]  # a loader thread's time for each load since the last call


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
        self._seating = Seating(table)
        self._loader = Loader(loader_threads, on_ready)
        self._lock = threading.Lock()
        self._closed = False
        self._changed = False  # a claim came or went since the last poll
        self._sources: dict[Key, AdapterSource] = {}  # of everything the residency knows
        self._packages: dict[Key, tuple[Package, float]] = {}  # inspected, and in how many seconds; until they load
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
                if lease.key in unknown and lease.key not in self._sources:
                    self._welcome(lease.key, lease.source)
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
                self._forget_absent(lease.key)
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
                resident=tuple(dict.fromkeys(self._sources[key].name for key in resident)),
                waiting=tuple(dict.fromkeys(lease.source.name for lease in self._waiting)),
                resident_bytes=self._seating.nbytes,
                loads_total=self._loads,
                load_failures_total=self._failures,
                evictions_total=self._residency.evictions,
                hits_total=self._residency.hits,
                misses_total=self._residency.misses,
                load_seconds=tuple(seconds),
            )

    def check_integrity(self) -> None:
        """Raises RuntimeError where claims, leases, bytes, slots or the table disagree."""
        with self._lock:
            if self._closed:
                return
            self._residency.check_integrity()
            resident = self._residency.keys(State.RESIDENT)
            self._seating.check_integrity(resident)
            if self._seating.nbytes != sum(self._residency.nbytes(key) for key in resident):
                raise RuntimeError(f"{self._seating.nbytes} bytes of buffers are not what was counted")
            if self._open != self._residency.claimed:
                raise RuntimeError(f"{self._open} leases are out, {self._residency.claimed} are claimed")
            known = {key for state in State for key in self._residency.keys(state)}
            if known != self._sources.keys() or not self._packages.keys() <= known:
                raise RuntimeError(f"known are {sorted(known)}, but sources of {sorted(self._sources)}")

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
            self._packages.clear()

    def _welcome(self, key: Key, source: AdapterSource) -> None:
        for known in self._sources:
            if known[0] == source.path:
                self._residency.outdate(known)
        self._sources[key] = source
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
        self._packages[key] = (package, outcome.seconds)
        self._residency.sized(key, package.nbytes)
        self._forget_absent(key)

    def _start(self, key: Key) -> None:
        source, room = self._sources[key], self._residency.nbytes(key)
        package, seconds = self._packages.pop(key, (None, 0.0))

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
        error = error or AdapterError(f"adapter '{self._sources[key].name}' cannot be loaded")
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
        if plan.impossible:
            budget = self._residency.budget
            for claim in plan.impossible:
                names = " + ".join(lease.source.name for lease in self._waiting if lease.claim is claim)
                reason = f"they are needed together, and all adapters together may take {budget} bytes of memory"
                self._cancel([claim], AdapterTooLargeError(names, [reason]))

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
            self._sources.pop(key, None)
            self._packages.pop(key, None)
