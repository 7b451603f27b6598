from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from loraplex_adapters.host_tier import HostTier
from loraplex_adapters.pins import Pins
from loraplex_adapters.policy import Popularity
from loraplex_adapters.residency import Residency
from loraplex_adapters.residents import Claim, Plan, State

SIZES = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "huge": 11}
BUDGET = 10
HOST_BUDGET = 7


class Recency:
    """The least recently used is worth least, whatever its size."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def used(self, key: str) -> None:
        self.order = [*(other for other in self.order if other != key), key]

    def worth(self, key: str, nbytes: int) -> float:
        return self.order.index(key)


class Memory:
    """Carries out what a residency plans, at once unless told otherwise."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.residency: Residency[str] = Residency(budget, Recency())
        self.pins = Pins(self.residency)
        self.evicted: list[str] = []
        self.dropped: list[str] = []

    def ask(self, *keys: str) -> Claim[str]:
        claim, unknown = self.residency.claim(keys)
        for key in unknown:
            self.residency.sized(key, SIZES[key])
        self.go()
        return claim

    def go(self, load: bool = True) -> Plan[str]:
        plan = self.residency.advance()
        self.evicted += plan.evict
        self.dropped += plan.drop
        for key in plan.load:
            if load:
                self.residency.loaded(key, SIZES[key])
        self.residency.check_integrity()
        self.pins.check_integrity()
        return plan

    def give(self, claim: Claim[str]) -> None:
        for key in list(claim.keys):
            self.residency.release(claim, key)
        self.go()

    def ready(self, *claims: Claim[str]) -> list[bool]:
        return [self.residency.ready(claim) for claim in claims]


def test_it_needs_no_torch() -> None:
    code = "import sys, loraplex_adapters.residency; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_what_fits_is_let_in_and_stays() -> None:
    memory = Memory()
    claims = [memory.ask(key) for key in "abc"]
    assert memory.ready(*claims) == [True, True, True]
    for claim in claims:
        memory.give(claim)
    assert memory.residency.used == 6
    assert memory.residency.keys(State.RESIDENT) == ["a", "b", "c"]
    assert memory.ready(memory.ask("b")) == [True]
    assert (memory.residency.hits, memory.residency.misses, memory.residency.evictions) == (1, 3, 0)


def test_what_is_worth_least_goes_first() -> None:
    memory = Memory()
    for key in "abca":
        memory.give(memory.ask(key))
    memory.give(memory.ask("f"))  # 6 more than the 6 that are there
    assert memory.evicted == ["b"]
    memory.give(memory.ask("d"))
    assert memory.evicted == ["b", "c", "a"]


def test_what_is_claimed_is_never_evicted() -> None:
    memory = Memory()
    held = memory.ask("d")
    memory.give(memory.ask("e"))
    waiting = memory.ask("f")
    assert memory.evicted == ["e"]
    assert memory.ready(held, waiting) == [True, True]


def test_an_outdated_one_goes_with_its_last_claim() -> None:
    memory = Memory()
    held = memory.ask("c")
    memory.residency.outdate("c")
    memory.go()
    assert memory.residency.state("c") is State.RESIDENT
    memory.give(held)
    assert (memory.dropped, memory.evicted) == (["c"], [])
    assert memory.residency.state("c") is None


def test_who_asks_for_an_outdated_one_makes_it_current_again() -> None:
    memory = Memory()
    held = memory.ask("c")
    memory.residency.outdate("c")
    memory.give(memory.ask("c"))
    memory.give(held)
    assert memory.residency.state("c") is State.RESIDENT


def test_what_is_pinned_never_leaves_and_the_rest_takes_turns_beside_it() -> None:
    memory = Memory()
    memory.give(memory.ask("c"))
    assert memory.pins.problem("c", "c") is None
    memory.pins.move("c", "c")
    for key in "feedfe":
        memory.give(memory.ask(key))
    assert memory.residency.state("c") is State.RESIDENT
    waiting = [memory.ask(key) for key in "fe"]
    assert memory.ready(*waiting) == [True, False]
    memory.give(waiting[0])
    assert memory.ready(waiting[1]) == [True]
    memory.pins.remove("c")
    memory.give(waiting[1])
    memory.give(memory.ask("f"))
    assert memory.residency.state("c") is None


def test_what_does_not_fit_beside_the_pins_is_impossible_until_one_goes() -> None:
    memory = Memory()
    memory.give(memory.ask("e"))
    memory.pins.move("e", "e")
    claim, _ = memory.residency.claim(["f"])
    memory.residency.sized("f", 6)
    assert memory.go().impossible == [claim]
    both = memory.ask("e", "d")  # what is pinned is there already
    assert memory.ready(both) == [True]
    memory.give(both)
    memory.pins.remove("e")
    assert memory.ready(memory.ask("f")) == [True]


def test_a_pin_that_leaves_too_little_is_refused_with_the_figures() -> None:
    memory = Memory()
    for key in "ce":
        memory.give(memory.ask(key))
    memory.pins.move("c", "c")
    assert memory.pins.problem("e", "e") == (
        "pinned adapters would take 8 of the 10 bytes for adapters, and 3 must stay for others; "
        "unpin one, or give --adapter-memory more"
    )
    assert memory.pins.problem("c", "e") is None  # instead of the other
    held = memory.ask("d")  # evicts e
    waiting = memory.ask("f")
    assert memory.ready(held, waiting) == [True, False]
    assert "6 must stay" in str(memory.pins.problem("d", "d"))


def test_a_name_pins_one_at_a_time_and_two_names_may_pin_the_same() -> None:
    memory = Memory()
    for key in "ab":
        memory.give(memory.ask(key))
    assert memory.pins.move("x", "a") is None
    assert memory.pins.move("y", "a") is None
    assert memory.pins.move("x", "b") == "a"
    assert memory.pins.holds("a")
    assert memory.pins.remove("y") == "a"
    assert not memory.pins.holds("a")
    assert memory.pins.remove("y") is None
    assert memory.residency.pinned == {"b": 1}
    memory.go()


def test_room_is_given_in_the_order_of_coming() -> None:
    memory = Memory()
    held = memory.ask("f"), memory.ask("d")
    large, small = memory.ask("e"), memory.ask("a")
    assert memory.ready(large, small) == [False, False]
    memory.give(held[1])  # 4 bytes: enough for the small one, but it came later
    assert memory.ready(large, small) == [False, False]
    memory.give(held[0])
    assert memory.ready(large, small) == [True, True]


def test_what_is_in_memory_goes_past_those_that_wait_for_room() -> None:
    memory = Memory()
    first, second = memory.ask("d"), memory.ask("f")
    waiting = memory.ask("e")  # d, the oldest, is not enough: both have to leave
    assert memory.ready(memory.ask("f")) == [False]
    memory.give(second)
    assert memory.ready(waiting) == [True]

    memory = Memory()
    first, second = memory.ask("f"), memory.ask("d")
    waiting = memory.ask("e")  # f has to leave
    passing = memory.ask("d")
    blocked = memory.ask("f")
    assert memory.ready(passing, blocked) == [True, False]
    memory.give(first)
    assert memory.ready(waiting, blocked) == [True, False]
    for claim in (second, passing, waiting):
        memory.give(claim)
    assert memory.ready(blocked) == [True]


@pytest.mark.parametrize("overlap", [1, 3])
def test_a_stream_of_claims_on_hot_adapters_starves_nobody(overlap: int) -> None:
    """Each adapter always has a claim, and each release makes its adapter the most recently used."""
    memory = Memory()
    running = [memory.ask(key) for key in ("d", "e") for _ in range(overlap)]
    waiting = memory.ask("c")
    for step in range(20):
        if memory.ready(waiting) == [True]:
            break
        running.append(memory.ask("de"[step % 2]))
        memory.give(running.pop(next(i for i, claim in enumerate(running) if memory.residency.ready(claim))))
    assert memory.ready(waiting) == [True]


def test_claims_on_several_never_wait_for_each_other() -> None:
    memory = Memory()
    first, second = memory.ask("e", "d"), memory.ask("d", "f")
    assert memory.ready(first, second) == [True, False]
    third = memory.ask("f", "e")
    memory.give(first)
    assert memory.ready(second, third) == [True, False]
    memory.give(second)
    assert memory.ready(second, third) == [False, False]  # 11 together: impossible, and it was told so


def test_claims_that_are_larger_than_everything_are_impossible() -> None:
    memory = Memory()
    single, _ = memory.residency.claim(["huge"])
    pair, _ = memory.residency.claim(["e", "f"])
    for key in ("huge", "e", "f"):
        memory.residency.sized(key, SIZES[key])
    assert memory.go().impossible == [single, pair]
    assert memory.residency.state("e") is None
    assert memory.ready(memory.ask("e")) == [True]


def test_one_adapter_twice_in_a_claim_takes_its_room_once() -> None:
    memory = Memory()
    claim = memory.ask("f", "f")
    assert memory.ready(claim) == [True]
    assert memory.residency.used == 6
    memory.residency.release(claim, "f")
    memory.residency.check_integrity()
    assert memory.ready(claim) == [True]
    memory.residency.release(claim, "f")
    memory.residency.check_integrity()


def test_a_failure_ends_all_claims_on_it_and_is_forgotten() -> None:
    memory = Memory()
    first, unknown = memory.residency.claim(["a"])
    second, none = memory.residency.claim(["a", "b"])
    other, _ = memory.residency.claim(["b"])
    assert (unknown, none) == (["a"], ["b"])
    memory.residency.sized("b", 2)
    assert set(memory.residency.failed("a")) == {first, second}
    memory.go()
    assert memory.ready(first, second, other) == [False, False, True]
    assert memory.residency.state("a") is None
    assert memory.residency.claim(["a"])[1] == ["a"]


def test_a_failed_load_gives_its_room_back() -> None:
    memory = Memory()
    claim, _ = memory.residency.claim(["f"])
    memory.residency.sized("f", 6)
    assert memory.go(load=False).load == ["f"]
    assert memory.residency.used == 6
    assert memory.residency.failed("f") == [claim]
    assert memory.residency.used == 0
    memory.residency.check_integrity()


def test_what_nobody_waits_for_any_more_is_finished_and_stays() -> None:
    memory = Memory()
    claim, _ = memory.residency.claim(["f"])
    memory.residency.sized("f", 6)
    memory.go(load=False)
    memory.residency.release(claim, "f")
    assert memory.residency.state("f") is State.LOADING
    memory.residency.loaded("f", 6)
    assert memory.residency.state("f") is State.RESIDENT
    memory.residency.check_integrity()


def test_what_nobody_waits_for_is_not_loaded() -> None:
    memory = Memory()
    claim, _ = memory.residency.claim(["f"])
    memory.residency.release(claim, "f")
    memory.residency.sized("f", 6)
    assert memory.residency.state("f") is None
    assert memory.go().load == []


def test_a_load_may_take_less_than_was_reserved_but_not_more() -> None:
    memory = Memory()
    memory.residency.claim(["f"])
    memory.residency.sized("f", 6)
    memory.go(load=False)
    with pytest.raises(ValueError, match="takes 7 bytes, 6 were reserved"):
        memory.residency.loaded("f", 7)
    memory.residency.loaded("f", 4)
    assert memory.residency.used == 4
    memory.residency.check_integrity()


def test_misuse_is_an_error() -> None:
    memory = Memory()
    claim = memory.ask("a")
    with pytest.raises(ValueError, match="'a' is not pinned"):
        memory.residency.unpin("a")
    with pytest.raises(ValueError, match="'b' is not resident"):
        memory.residency.pin("b")
    for call in (memory.residency.sized, memory.residency.loaded):
        with pytest.raises(ValueError, match="'a' is not"):
            call("a", 1)
    with pytest.raises(ValueError, match="'a' is not"):
        memory.residency.failed("a")
    with pytest.raises(ValueError, match="is not held"):
        memory.residency.release(claim, "b")
    memory.give(claim)
    with pytest.raises(ValueError, match="is not held"):
        memory.residency.release(claim, "a")


class AnyOrder(RuleBasedStateMachine):
    """Claims, sizes, loads, failures, pins and releases in any order; what was promised holds after each.

    What is evicted goes to a host tier, and is taken from there when it is loaded again.
    """

    def __init__(self) -> None:
        super().__init__()
        popularity: Popularity[str] = Popularity(half_life=3, fixed_cost=2)
        self.residency: Residency[str] = Residency(BUDGET, popularity)
        self.pins = Pins(self.residency)
        self.host: HostTier[str, str] = HostTier(HOST_BUDGET, popularity)
        self.sizing: list[str] = []
        self.loading: list[str] = []
        self.memory: set[str] = set()
        self.waiting: list[Claim[str]] = []
        self.running: list[Claim[str]] = []

    @rule(keys=st.lists(st.sampled_from(sorted(SIZES)), min_size=1, max_size=3))
    def claim(self, keys: list[str]) -> None:
        claim, unknown = self.residency.claim(keys)
        for key in unknown:
            size = self.host.nbytes(key)
            if size is None:
                self.sizing.append(key)
            else:
                self.residency.sized(key, size)
        self.waiting.append(claim)

    @precondition(lambda self: self.sizing)
    @rule(data=st.data())
    def size(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.sizing))
        self.sizing.remove(key)
        self.residency.sized(key, SIZES[key])

    @precondition(lambda self: self.loading)
    @rule(data=st.data())
    def load(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.loading))
        self.loading.remove(key)
        self.memory.add(key)
        self.residency.loaded(key, SIZES[key])

    @precondition(lambda self: self.loading or self.sizing)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.loading + self.sizing))
        (self.loading if key in self.loading else self.sizing).remove(key)
        self.drop(self.residency.failed(key))

    @precondition(lambda self: self.waiting + self.running)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.waiting + self.running))
        self.residency.release(claim, data.draw(st.sampled_from(claim.keys)))
        if not claim.keys:
            self.drop([claim])

    @rule(key=st.sampled_from("de"))
    def outdate(self, key: str) -> None:
        self.residency.outdate(key)
        if key in self.host:
            self.host.take(key)

    @precondition(lambda self: self.memory)
    @rule(name=st.sampled_from("xyz"), data=st.data())
    def pin(self, name: str, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.memory)))
        before = self.residency.pinned
        if self.pins.problem(name, key) is None:
            self.pins.move(name, key)
            if self.residency.pinned == before:
                return  # nothing was asked, so nothing is promised: a claim that never fits may wait for its refusal
            assert self.residency.pinned_bytes <= BUDGET * 3 / 4
            assert self.residency.largest_need(self.residency.pinned) <= BUDGET - self.residency.pinned_bytes

    @rule(name=st.sampled_from("xyz"))
    def unpin(self, name: str) -> None:
        self.pins.remove(name)

    @rule()
    def advance(self) -> None:
        plan = self.residency.advance()
        stay = {key for claim in self.running for key in claim.keys} | self.residency.pinned.keys()
        for key in (*plan.drop, *plan.evict):
            assert key not in stay
            self.memory.remove(key)
        self.lift(plan)  # before what leaves can displace it
        for key in plan.evict:
            self.host.put(key, key, SIZES[key])
        self.lift(plan)  # what was evicted for one claim and loaded for the next
        self.loading += plan.load
        assert sum(SIZES[key] for key in [*self.memory, *self.loading]) <= BUDGET
        pinned = self.residency.pinned
        room = BUDGET - sum(SIZES[key] for key in pinned)
        for claim in plan.impossible:
            assert sum(SIZES[key] for key in set(claim.keys) - pinned.keys()) > room
        self.drop(plan.impossible)

    def lift(self, plan: Plan[str]) -> None:
        for key in plan.load:
            if key in self.host:
                assert self.host.take(key) == key

    def drop(self, claims: list[Claim[str]]) -> None:
        self.waiting = [claim for claim in self.waiting if claim not in claims]
        self.running = [claim for claim in self.running if claim not in claims]

    @invariant()
    def promises_hold(self) -> None:
        self.residency.check_integrity()
        self.pins.check_integrity()
        self.host.check_integrity()
        assert not {key for key, _ in self.host.items()} & {*self.memory, *self.loading}
        for claim in [claim for claim in self.waiting if self.residency.ready(claim)]:
            self.waiting.remove(claim)
            self.running.append(claim)
        for claim in self.running:
            assert set(claim.keys) <= self.memory
        assert set(self.residency.keys(State.RESIDENT)) == self.memory
        assert self.residency.pinned.keys() <= self.memory

    def teardown(self) -> None:
        """Whatever happened: when the work in progress ends and the claims that run are released, all others run.

        The pins stay as they are.
        """
        for _ in range(200):
            if not self.waiting:
                break
            self.advance()
            for key in self.sizing:
                self.residency.sized(key, SIZES[key])
            self.sizing.clear()
            for key in self.loading:
                self.memory.add(key)
                self.residency.loaded(key, SIZES[key])
            self.loading.clear()
            self.promises_hold()
            for claim in self.running[:1]:
                for key in list(claim.keys):
                    self.residency.release(claim, key)
                self.running.remove(claim)
        assert not self.waiting


AnyOrder.TestCase.settings = settings(stateful_step_count=50)
TestAnyOrder = AnyOrder.TestCase
