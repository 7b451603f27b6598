from __future__ import annotations

import contextlib
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.peft_files import Base, Written, write_adapter
from torch import Tensor

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import AdapterError, AdapterRefusedError, AdapterTooLargeError
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.lease import Lease
from loraplex_adapters.loader import Loader, Outcome
from loraplex_adapters.loading import read
from loraplex_adapters.package import inspect
from loraplex_adapters.store import AdapterStore
from loraplex_kernels.lora import AdapterTable

CPU = torch.device("cpu")
WAIT_S = 120
NAMES = ["a", "b", "c", "d", "e"]
RANKS = {"a": 2, "b": 2, "c": 2, "d": 4, "e": 8}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    root = tmp_path_factory.mktemp("saved")
    return {name: write_adapter(root, name, seed=seed, r=RANKS[name]) for seed, name in enumerate(NAMES)}


@pytest.fixture
def root(saved: dict[str, Written], tmp_path: Path) -> Path:
    folder = tmp_path / "adapters"
    shutil.copytree(next(iter(saved.values())).folder.parent, folder)
    return folder


class Gate:
    """Stands before the base's weights, which a DoRA adapter asks for on its way in: a load held as long as wanted."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()

    def __call__(self, weight: Tensor) -> Tensor:
        self.reached.set()
        assert self.open.wait(WAIT_S)
        return weight


class Bench:
    """A store over a folder of adapters, polled by hand."""

    def __init__(self, base: Base, root: Path, budget: int = 1 << 30, **options: Any) -> None:
        self.base = base
        self.gate = Gate()
        self.catalog = Catalog(root)
        self.table = AdapterTable(options.pop("slots", 2), len(base.sites), torch.float32, CPU)
        self.woken = threading.Semaphore(0)
        self.store = AdapterStore(
            base=replace(base, served=self.gate),
            table=self.table,
            budget_bytes=budget,
            on_ready=self.woken.release,
            **options,
        )
        self.loading = 0
        self._count_work(self.store._intake._loader)

    def ask(self, name: str) -> Lease:
        return self.store.request(self.catalog.resolve(name))

    def until(self, *leases: Lease) -> None:
        """Poll as an idle engine does, woken by the loader, until none of these waits."""
        deadline = time.monotonic() + WAIT_S
        self.store.poll()
        while any(lease.state == "waiting" for lease in leases):
            assert time.monotonic() < deadline
            self.woken.acquire(timeout=0.5)
            self.store.poll()
            self.store.check_integrity()

    def get(self, name: str) -> Lease:
        lease = self.ask(name)
        self.until(lease)
        return lease

    def settle(self) -> None:
        """Poll until nothing waits and nothing is on its way."""
        self.rest()
        assert not self.store.stats().waiting

    def rest(self) -> None:
        """Poll until the loader has nothing to do, whoever waits for something else."""
        deadline = time.monotonic() + WAIT_S
        self.store.poll()
        while self.loading:
            assert time.monotonic() < deadline
            self.woken.acquire(timeout=0.5)
            self.store.poll()

    def _count_work(self, loader: Loader) -> None:
        submit = loader.submit

        def counted(name: str, work: Callable[[], Any], done: Callable[[Outcome[Any]], None]) -> None:
            self.loading += 1

            def noted(outcome: Outcome[Any]) -> None:
                done(outcome)  # which may submit more
                self.loading -= 1

            submit(name, work, noted)

        loader.submit = counted  # type: ignore[method-assign]

    def tiers(self) -> dict[str, str]:
        return {entry.name: entry.tier for entry in self.store.stats().entries}

    def nbytes(self, *names: str) -> int:
        return sum(inspect(self.catalog.resolve(name), self.base.shape, torch.float32).nbytes for name in names)

    def holds(self, lease: Lease, written: Written) -> bool:
        """The lease's row has that adapter's weights."""
        for site in self.base.sites:
            weights = self.table.weights(lease.slot, site.index)
            module = written.peft.base_model.model.get_submodule(site.name)
            if (weights is None) != (not hasattr(module, "lora_A")):
                return False
            if weights is not None and not torch.equal(weights.a, module.lora_A["default"].weight):
                return False
        return True


MakeBench = Callable[..., Bench]


@pytest.fixture
def bench(llama: Base, root: Path) -> Iterator[MakeBench]:
    made: list[Bench] = []

    def make(*names: str, **options: Any) -> Bench:
        """With names: the budget is what these take together."""
        made.append(Bench(llama, root, **options))
        if names:
            budget = made[-1].nbytes(*names)
            made[-1].store.close()
            made.append(Bench(llama, root, budget, **options))
        return made[-1]

    yield make
    for found in made:
        found.gate.open.set()
        found.store.check_integrity()
        found.store.close()


def test_an_adapter_is_loaded_at_its_first_request_and_leased(bench: MakeBench, saved: dict[str, Written]) -> None:
    found = bench()
    lease = found.ask("a")
    assert lease.state == "waiting"
    with pytest.raises(RuntimeError, match="its lease is waiting"):
        lease.slot  # noqa: B018
    found.until(lease)
    assert lease.state == "ready"
    assert found.holds(lease, saved["a"])
    assert lease.generation == read(lease.source, torch.float32, CPU, found.base).generation
    assert not lease.magnitude
    again = found.ask("a")
    assert (again.state, again.slot, again.generation) == ("ready", lease.slot, lease.generation)
    stats = found.store.stats()
    assert (stats.resident, stats.waiting) == (("a",), ())
    assert (stats.loads_total, stats.misses_total, stats.hits_total) == (1, 1, 1)
    assert stats.resident_bytes == found.nbytes("a")
    assert len(stats.load_seconds) == 1
    assert found.store.stats().load_seconds == ()


def test_one_load_serves_all_who_wait_for_it(bench: MakeBench) -> None:
    found = bench()
    leases = [found.ask("a") for _ in range(20)]
    found.until(*leases)
    assert {lease.slot for lease in leases} == {leases[0].slot}
    assert found.store.stats().loads_total == 1


def test_the_table_grows_with_the_adapters(bench: MakeBench, saved: dict[str, Written]) -> None:
    found = bench(slots=1)
    leases = {name: found.ask(name) for name in NAMES}
    found.until(*leases.values())
    assert found.table.slots >= len(NAMES)
    assert all(found.holds(lease, saved[name]) for name, lease in leases.items())


def test_a_lease_is_given_back_exactly_once(bench: MakeBench) -> None:
    found = bench()
    lease = found.get("a")
    found.store.release(lease)
    with pytest.raises(ValueError, match="was released before"):
        found.store.release(lease)


def test_what_nobody_uses_is_evicted_when_room_is_needed(bench: MakeBench) -> None:
    found = bench("a", "b")
    for name in "ab":
        found.store.release(found.get(name))
    found.store.release(found.get("a"))
    lease = found.get("c")
    stats = found.store.stats()
    assert set(stats.resident) == {"a", "c"}
    assert stats.evictions_total == 1
    assert lease.state == "ready"


def test_an_evicted_adapters_memory_is_given_back(bench: MakeBench) -> None:
    found = bench("a")
    lease = found.get("a")
    slot = lease.slot
    found.store.release(lease)
    other = found.get("b")
    assert other.slot == slot
    assert int((found.table.rank > 0).any(dim=1).sum()) == 1


def test_a_request_waits_while_everything_is_in_use(bench: MakeBench) -> None:
    found = bench("a", "b")
    held = [found.get("a"), found.get("b")]
    waiting = found.ask("c")
    for _ in range(5):
        found.store.poll()
        time.sleep(0.01)
    assert waiting.state == "waiting"
    assert found.store.stats().waiting == ("c",)
    found.store.release(held[0])
    found.until(waiting)
    assert waiting.state == "ready"
    assert held[1].state == "ready"


def test_a_large_one_that_waits_is_not_passed_by_small_ones(bench: MakeBench) -> None:
    found = bench("e")
    held = [found.get("a"), found.get("b")]
    large = found.ask("e")
    for _ in range(3):
        small = found.ask("c")
        found.rest()
        assert (large.state, small.state) == ("waiting", "waiting")
        found.store.release(small)
    for lease in held:
        found.store.release(lease)
    found.until(large)
    assert large.state == "ready"


def test_an_adapter_larger_than_the_budget_is_refused(bench: MakeBench) -> None:
    found = bench("a")
    lease = found.get("e")
    assert isinstance(lease.error, AdapterTooLargeError)
    assert str(found.nbytes("e")) in str(lease.error)
    assert found.get("a").state == "ready"


def test_adapters_needed_together_come_together(bench: MakeBench) -> None:
    found = bench("a", "b")
    first = found.store.request_all([found.catalog.resolve(name) for name in "ab"])
    second = found.store.request_all([found.catalog.resolve(name) for name in "bc"])
    found.until(*first)
    assert [lease.state for lease in second] == ["waiting", "waiting"]
    for lease in first:
        found.store.release(lease)
    found.until(*second)
    assert [lease.state for lease in second] == ["ready", "ready"]


def test_adapters_that_never_fit_together_are_refused_together(bench: MakeBench) -> None:
    found = bench("a", "b")
    leases = found.store.request_all([found.catalog.resolve(name) for name in "abc"])
    found.until(*leases)
    assert {str(lease.error) for lease in leases} == {str(leases[0].error)}
    assert isinstance(leases[0].error, AdapterTooLargeError)
    assert "a + b + c" in str(leases[0].error)


def test_a_bad_adapter_fails_its_own_requests_only_and_is_tried_again(bench: MakeBench, root: Path) -> None:
    found = bench()
    path = root / "b" / TENSOR_FILE
    good = path.read_bytes()
    path.write_bytes(good[:100])
    leases = [found.ask("b") for _ in range(3)]
    other = found.ask("a")
    found.until(*leases, other)
    assert [lease.state for lease in leases] == ["failed"] * 3
    assert all(isinstance(lease.error, AdapterRefusedError) for lease in leases)
    assert other.state == "ready"
    assert found.store.stats().load_failures_total == 1
    for lease in leases:
        found.store.release(lease)
    source = leases[0].source
    path.write_bytes(good)
    again = found.store.request(source)  # even the same fingerprint: a failure is not remembered
    found.until(again)
    assert again.state == "ready"
    assert found.store.stats().load_failures_total == 1


def test_a_file_that_is_gone_fails_the_request(bench: MakeBench, root: Path) -> None:
    found = bench()
    source = found.catalog.resolve("a")
    shutil.rmtree(root / "a")
    lease = found.store.request(source)
    found.until(lease)
    assert isinstance(lease.error, AdapterError)


def test_a_weight_that_is_no_number_fails_the_load(bench: MakeBench, root: Path, saved: dict[str, Written]) -> None:
    found = bench()
    written = Written(saved["a"].peft, root / "a")
    written.edit_tensors(lambda tensors: next(iter(tensors.values())).fill_(float("nan")))
    lease = found.get("a")
    assert isinstance(lease.error, AdapterRefusedError)
    assert found.store.stats().resident_bytes == 0


def test_a_replaced_adapter_is_a_new_one_and_the_old_one_stays_for_its_requests(
    bench: MakeBench, root: Path, saved: dict[str, Written]
) -> None:
    found = bench()
    old = found.get("a")
    old_slot = old.slot
    shutil.copytree(saved["b"].folder, root / "new")
    (root / "a").rename(root / "old")
    (root / "new").rename(root / "a")
    new = found.get("a")
    assert (old.state, old.slot) == ("ready", old_slot)
    assert new.slot != old.slot
    assert new.generation != old.generation
    assert found.holds(old, saved["a"])
    assert found.holds(new, saved["b"])


def test_an_outdated_adapter_is_the_first_to_go(bench: MakeBench, root: Path) -> None:
    found = bench("a", "b", "c")
    old = found.get("a")
    os.utime(root / "a" / TENSOR_FILE)
    new = found.get("a")
    assert new.generation == old.generation  # the content is the same
    found.store.release(new)
    found.store.release(found.get("b"))
    found.store.release(old)  # the most recently used of all
    found.store.release(found.get("c"))
    again = found.ask("a")
    assert again.state == "ready"
    assert again.slot == new.slot


def test_what_leaves_the_device_comes_back_from_the_host_without_being_read(
    bench: MakeBench, root: Path, saved: dict[str, Written]
) -> None:
    found = bench("a", host_budget_bytes=1 << 30)
    first = found.get("a")
    address = found.store._known[first.key].loaded.buffer.data_ptr()
    found.store.release(first)
    found.store.release(found.get("b"))
    assert found.tiers() == {"a": "host", "b": "device"}
    source = found.catalog.resolve("a")
    shutil.rmtree(root / "a")  # its files are not needed
    again = found.store.request(source)
    assert found.store.stats().waiting == ("a",)
    found.store.poll()  # nothing to wait for
    assert again.state == "ready"
    assert again.generation == first.generation
    assert found.holds(again, saved["a"])
    assert found.store._known[again.key].loaded.buffer.data_ptr() == address  # it moved, uncopied
    assert found.tiers() == {"a": "device", "b": "host"}
    stats = found.store.stats()
    assert (stats.loads_total, stats.host_loads_total, stats.evictions_total) == (2, 1, 2)
    assert (stats.hits_total, stats.host_hits_total, stats.misses_total) == (0, 1, 3)
    assert (stats.resident_bytes, stats.host_bytes) == (found.nbytes("b"), found.nbytes("b"))
    found.store.check_integrity()


def test_the_host_tier_keeps_to_its_budget_and_to_what_is_used(bench: MakeBench) -> None:
    found = bench("a")
    found = bench("a", host_budget_bytes=found.nbytes("a"))
    for name in "aaabcbc":
        found.store.release(found.get(name))
    assert found.tiers() == {"a": "host", "c": "device"}  # b was not worth more than a
    assert found.store.stats().host_bytes == found.nbytes("a")
    for name in "bbbb":
        found.store.release(found.get(name))
    found.store.release(found.get("c"))
    assert found.tiers() == {"b": "host", "c": "device"}
    assert found.store.stats().host_evictions_total == 1


def test_two_that_change_places_need_no_third_place(bench: MakeBench) -> None:
    found = bench("a", host_budget_bytes=bench().nbytes("a"))
    for name in "ababab":
        found.store.release(found.get(name))
    stats = found.store.stats()
    assert (stats.loads_total, stats.host_loads_total) == (2, 4)
    found.store.check_integrity()


def test_without_a_host_budget_what_leaves_is_gone(bench: MakeBench) -> None:
    found = bench("a")
    for name in "ab":
        found.store.release(found.get(name))
    assert found.tiers() == {"b": "device"}
    assert found.store.stats().host_bytes == 0


def test_a_replaced_adapter_is_not_taken_from_the_host(bench: MakeBench, root: Path, saved: dict[str, Written]) -> None:
    found = bench("a", "b", host_budget_bytes=1 << 30)
    old = found.get("a")
    found.store.release(old)
    found.store.release(found.get("d"))
    assert found.tiers()["a"] == "host"
    shutil.rmtree(root / "a")
    shutil.copytree(saved["c"].folder, root / "a")
    new = found.get("a")
    assert new.generation != old.generation
    assert found.holds(new, saved["c"])
    assert [entry.generation for entry in found.store.stats().entries if entry.name == "a"] == [new.generation]
    found.store.check_integrity()


def test_one_in_use_that_is_replaced_leaves_with_its_last_lease(
    bench: MakeBench, root: Path, saved: dict[str, Written]
) -> None:
    found = bench(host_budget_bytes=1 << 30)
    old = found.get("a")
    shutil.rmtree(root / "a")
    shutil.copytree(saved["b"].folder, root / "a")
    new = found.get("a")
    assert found.store.stats().resident_bytes == found.nbytes("a", "b")
    assert found.holds(old, saved["a"])
    found.store.release(old)
    found.store.poll()
    stats = found.store.stats()
    assert (stats.resident_bytes, stats.host_bytes, stats.evictions_total) == (found.nbytes("a"), 0, 0)
    assert new.state == "ready"


def test_what_is_pinned_stays_whatever_comes(bench: MakeBench) -> None:
    found = bench("a", "b", "c")
    pinned = found.get("a")
    found.store.pin(pinned)
    found.store.release(pinned)
    for name in "bcdbcd":
        found.store.release(found.get(name))
    again = found.ask("a")
    assert (again.state, again.slot) == ("ready", pinned.slot)
    assert [entry.name for entry in found.store.stats().entries if entry.pinned] == ["a"]
    found.store.unpin("a")
    found.store.release(again)
    for name in "bcbcd":
        found.store.release(found.get(name))
    assert "a" not in found.tiers()


def test_what_cannot_fit_beside_the_pins_is_refused_with_the_figures(bench: MakeBench) -> None:
    found = bench("e")
    found.store.pin(found.get("a"))
    refused = found.get("e")
    size = found.nbytes("e")
    assert str(refused.error) == (
        f"adapter 'e' is refused: it does not fit: all adapters together may take {size} bytes of memory, "
        f"of which adapters that are pinned take {found.nbytes('a')}"
    )
    found.store.unpin("a")
    found.store.release(found.store.request(found.catalog.resolve("a")))


def test_a_pin_moves_to_the_new_content_and_the_old_one_leaves_after_its_last_lease(
    bench: MakeBench, root: Path, saved: dict[str, Written]
) -> None:
    found = bench()
    old = found.get("a")
    found.store.pin(old)
    shutil.rmtree(root / "a")
    shutil.copytree(saved["b"].folder, root / "a")
    new = found.get("a")
    found.store.pin(new)
    found.store.release(new)
    found.store.poll()
    assert found.holds(old, saved["a"])
    found.store.release(old)
    found.store.poll()
    entries = found.store.stats().entries
    assert [(entry.generation, entry.pinned) for entry in entries] == [(new.generation, True)]


def test_entries_say_where_each_adapter_is(bench: MakeBench, root: Path) -> None:
    write_adapter(root, "dora", use_dora=True)
    found = bench(loader_threads=2)
    before = time.time()
    held = found.get("a")
    found.gate.open.clear()
    found.ask("dora")
    found.ask("dora")
    while not found.gate.reached.wait(0.01):
        found.store.poll()
    entries = {entry.name: entry for entry in found.store.stats().entries}
    assert (entries["a"].tier, entries["a"].in_flight, entries["a"].nbytes) == ("device", 1, found.nbytes("a"))
    assert (entries["dora"].tier, entries["dora"].in_flight, entries["dora"].generation) == ("loading", 2, "")
    assert entries["dora"].nbytes == found.nbytes("dora")
    assert all(before <= entry.last_used <= time.time() for entry in entries.values())
    asked = entries["a"].last_used
    found.store.release(held)
    assert next(entry.last_used for entry in found.store.stats().entries if entry.name == "a") > asked
    found.ask("b")
    assert next(entry.tier for entry in found.store.stats().entries if entry.name == "b") == "waiting"


def test_a_lease_given_back_while_it_loads_leaves_the_adapter_there(bench: MakeBench, root: Path, saved) -> None:
    write_adapter(root, "dora", use_dora=True)
    found = bench()
    found.gate.open.clear()
    lease = found.ask("dora")
    while not found.gate.reached.wait(0.01):
        found.store.poll()
    found.store.release(lease)
    found.gate.open.set()
    found.settle()
    assert found.store.stats().resident == ("dora",)
    assert found.ask("dora").magnitude


def test_nothing_waits_for_a_load_in_progress(bench: MakeBench, root: Path) -> None:
    write_adapter(root, "dora", use_dora=True)
    found = bench(loader_threads=2)
    ready = found.get("a")
    found.gate.open.clear()
    slow = found.ask("dora")
    while not found.gate.reached.wait(0.01):
        found.store.poll()
    other = found.get("b")  # meanwhile, on the other thread
    found.store.release(ready)
    found.store.check_integrity()
    assert (slow.state, other.state) == ("waiting", "ready")
    found.gate.open.set()
    found.until(slow)
    assert slow.magnitude


def test_files_replaced_while_they_wait_for_room_are_read_as_they_are_then(
    bench: MakeBench, root: Path, saved: dict[str, Written]
) -> None:
    found = bench("d")
    held = found.get("d")
    same_size, larger = found.ask("a"), found.ask("b")
    found.rest()  # both are inspected
    for name, source in (("a", "c"), ("b", "e")):
        shutil.rmtree(root / name)
        shutil.copytree(saved[source].folder, root / name)
    found.store.release(held)
    found.until(same_size, larger)
    assert found.holds(same_size, saved["c"])
    assert "was replaced by a larger one" in str(larger.error)


def test_closing_fails_those_that_wait(bench: MakeBench) -> None:
    found = bench("a")
    ready, waiting = found.get("a"), found.ask("b")
    found.store.close()
    assert "shutting down" in str(waiting.error)
    with pytest.raises(RuntimeError, match="is closed"):
        found.ask("a")
    for lease in (ready, waiting):
        found.store.release(lease)
    assert not (found.table.rank > 0).any()
    found.store.close()


def test_many_threads_at_once_leave_nothing_behind(bench: MakeBench, root: Path, saved: dict[str, Written]) -> None:
    """Requests, mixes, releases, pins, replaced and broken files, with room for two or three adapters in each tier."""
    room = bench().nbytes("d", "e")
    found = bench("d", "e", loader_threads=2, host_budget_bytes=room)
    (root / "broken").mkdir()
    shutil.copy(saved["a"].folder / "adapter_config.json", root / "broken")
    budget = found.nbytes("d", "e")
    stop, wrong = threading.Event(), []

    def client(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(25):
                names = chance.sample([*NAMES, "broken"], k=chance.choice([1, 1, 1, 2]))
                leases = found.store.request_all([found.catalog.resolve(name) for name in names])
                patience = time.monotonic() + (WAIT_S if chance.random() < 0.8 else 0.002)
                while any(lease.state == "waiting" for lease in leases) and time.monotonic() < patience:
                    time.sleep(0.0005)
                states = {lease.state for lease in leases}
                assert len(states) == 1
                if "broken" in names and "ready" in states:
                    raise AssertionError("a broken adapter was served")
                if "ready" in states:
                    time.sleep(chance.random() * 0.002)
                    assert all(found.holds(lease, saved[lease.source.name]) for lease in leases)
                    with contextlib.suppress(AdapterRefusedError):  # too many pins
                        if chance.random() < 0.1:
                            found.store.pin(leases[0])
                if chance.random() < 0.2:
                    found.store.unpin(chance.choice(NAMES))
                if chance.random() < 0.1:
                    os.utime(root / chance.choice(NAMES) / TENSOR_FILE)
                for lease in leases:
                    found.store.release(lease)
        except BaseException as error:
            wrong.append(error)
            raise

    def poller() -> None:
        while not stop.is_set():
            found.store.poll()
            found.store.check_integrity()
            stats = found.store.stats()
            if stats.resident_bytes > budget or stats.host_bytes > budget:
                wrong.append(AssertionError("over budget"))
            time.sleep(0.0002)  # a step

    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    step_loop = threading.Thread(target=poller)
    for thread in [*clients, step_loop]:
        thread.start()
    for thread in clients:
        thread.join()
    stop.set()
    step_loop.join()
    assert wrong == []
    found.settle()
    assert found.store.stats().evictions_total > 0
    assert found.store.stats().host_loads_total > 0
    assert found.store.stats().load_failures_total > 0
