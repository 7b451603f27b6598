"""Other ranks hold the same adapters as this one, in the same places, told no more than rank 0 decides."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from support.peft_files import Base, write_adapter

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import AdapterError
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.intake import Intake
from loraplex_adapters.lease import Lease
from loraplex_adapters.loader import Outcome
from loraplex_adapters.loading import LoadedAdapter
from loraplex_adapters.package import inspect
from loraplex_adapters.shard import Shard, SitePart
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.store import AdapterStore
from loraplex_kernels.lora import AdapterTable

CPU = torch.device("cpu")
WAIT_S = 120
NAMES = ["a", "b", "c", "d"]


class Mirror:
    """A rank without weights: where it has each adapter, by number. To be told of one that is not there is an error."""

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}
        self.kept: set[int] = set()
        self.ready: set[int] = set()  # read or lifted, and not seated
        self.full = False  # nothing can be lifted
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def read(self, source: AdapterSource) -> Coming:
        with self._lock:
            number = next(self._numbers)
            self.ready.add(number)
        return Coming(number, self.ready.remove)

    def lift(self, name: str, number: int) -> Coming:
        with self._lock:
            self.kept.remove(number)
            self.ready.add(number)
        return Coming(number, self.forget, f"no memory for {name} (rank 1)" if self.full else None)

    def seat(self, slot: int, number: int) -> None:
        assert slot not in self.rows
        with self._lock:
            self.ready.remove(number)
        self.rows[slot] = number

    def unseat(self, slot: int, number: int = 0) -> None:
        was = self.rows.pop(slot)
        if number:
            assert number == was
            self.kept.add(number)

    def forget(self, number: int) -> None:
        (self.kept if number in self.kept else self.ready).remove(number)


class Coming:
    """See `Reading`. Args: drop: lets go of it. wrong: why it cannot come."""

    def __init__(self, number: int, drop: Callable[[int], None], wrong: str | None = None) -> None:
        self.number = number
        self._drop = drop
        self._wrong = wrong

    def finish(self, generation: str) -> None:
        if self._wrong is not None:
            self._drop(self.number)
            raise AdapterError(self._wrong)

    def give_up(self) -> None:
        self._drop(self.number)


class Pair:
    """A store and its mirror, polled by hand."""

    def __init__(self, base: Base, root: Path, budget: int, host: int) -> None:
        self.catalog = Catalog(root)
        self.mirror = Mirror()
        self.woken = threading.Event()
        self.store = AdapterStore(
            base=base,
            table=AdapterTable(2, len(base.sites), torch.float32, CPU),
            budget_bytes=budget,
            host_budget_bytes=host,
            loader_threads=2,
            on_ready=self.woken.set,
            shard=Shard((SitePart(),) * len(base.sites), (0, 2), True),
            peers=self.mirror,
        )

    def get(self, source: str | AdapterSource) -> Lease:
        """Ask for an adapter, wait until it is there or cannot be, and give it back."""
        lease = self.store.request(self.catalog.resolve(source) if isinstance(source, str) else source)
        self.poll_until(lambda: lease.state != "waiting")
        self.store.release(lease)
        return lease

    def poll_until(self, met: Callable[[], bool]) -> None:
        """As the engine does: at once, and whenever it is woken."""
        deadline = time.monotonic() + WAIT_S
        self.store.poll()
        while not met():
            assert time.monotonic() < deadline
            self.woken.wait(0.5)
            self.woken.clear()
            self.store.poll()

    def agrees(self) -> bool:
        """Once nothing is on its way."""
        store = self.store
        rows = {store._seating[key].slot: known.loaded.number for key, known in store._known.items() if known.loaded}
        kept = {known.loaded.number for _, known in store._shelf.items() if known.loaded}
        return (rows, kept, set()) == (self.mirror.rows, self.mirror.kept, self.mirror.ready)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, name in enumerate(NAMES):
        write_adapter(tmp_path, name, seed=seed, r=4)
    return tmp_path


@pytest.fixture
def pair(llama: Base, root: Path) -> Iterator[Pair]:
    """With room for one on the device and two on the host."""
    size = inspect(Catalog(root).resolve("a"), llama.shape, torch.float32).nbytes
    made = Pair(llama, root, size, 2 * size)
    yield made
    made.store.close()


def test_what_leaves_comes_back_and_is_displaced_does_so_everywhere(pair: Pair, root: Path) -> None:
    chance = random.Random(1)
    for _ in range(60):
        name = chance.choice(NAMES)
        if chance.random() < 0.2:
            os.utime(root / name / TENSOR_FILE)  # another state of it, for all that the server knows
        assert pair.get(name).state == "ready"
        assert pair.agrees()
    stats = pair.store.stats()
    assert stats.host_loads_total > 0
    assert stats.host_evictions_total > 0


@pytest.mark.parametrize("replaced", [False, True])
def test_one_that_is_wanted_while_it_is_copied_to_the_host_is_kept_nowhere(
    pair: Pair, root: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    """As on a GPU, where the copy takes its time: it, or its successor, is read anew, and all let go of the copy."""
    copied = threading.Event()

    def shelve(self: Intake, name: str, loaded: LoadedAdapter, done: Callable[[Outcome[LoadedAdapter]], None]) -> None:
        def copy() -> LoadedAdapter:
            assert copied.wait(WAIT_S)
            return loaded

        self._loader.submit(name, copy, done)

    pair.get("a")
    with monkeypatch.context() as slow:
        slow.setattr(Intake, "shelve", shelve)
        pair.get("b")
    if replaced:
        os.utime(root / "a" / TENSOR_FILE)
    assert pair.get("a").state == "ready"
    assert not pair.agrees()  # the others have it, here it is on its way
    copied.set()
    pair.poll_until(pair.agrees)
    assert pair.store.stats().loads_total == 3


def test_one_that_a_rank_cannot_bring_back_is_read_anew_by_all(pair: Pair) -> None:
    for name in "ab":
        pair.get(name)
    pair.mirror.full = True
    failed = pair.get("a")
    assert failed.state == "failed"
    assert str(failed.error) == "no memory for a (rank 1)"
    assert pair.agrees()
    pair.mirror.full = False
    assert pair.get("a").state == "ready"
    assert pair.store.stats().loads_total == 3
    assert pair.agrees()


def test_one_whose_files_are_gone_comes_back_from_the_host(pair: Pair, root: Path) -> None:
    source = pair.catalog.resolve("a")
    for name in "ab":
        pair.get(name)
    shutil.rmtree(root / "a")
    assert pair.get(source).state == "ready"
    assert pair.agrees()
