"""Fair shares by themselves: no model, and a clock that moves by what each step costs."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraplex_server.engine.block_pool import BlockPool
from loraplex_server.engine.fairness import OUTPUT_COST, PROMPT_COST, VirtualCounters
from loraplex_server.engine.messages import SamplingParams, Share
from loraplex_server.engine.scheduler import CREDIT_STEPS, Scheduler
from loraplex_server.engine.sequence import Sequence

_ids = itertools.count()


@dataclass
class World:
    """A scheduler that is stepped, on a clock of its own."""

    seats: int = 8
    tokens: int = 512
    blocks: int = 4000
    now: float = 0.0
    served: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # cost, by tenant
    ttft: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    order: list[Sequence] = field(default_factory=list)  # by first token
    came: dict[Sequence, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(
            BlockPool(self.blocks, caching=False),
            block_size=16,
            max_num_seqs=self.seats,
            max_num_batched_tokens=self.tokens,
            clock=lambda: self.now,
        )

    def send(
        self, tenant: str = "", prompt: int = 30, output: int = 8, *, adapter: str = "", **share: float
    ) -> Sequence:
        """One request, of tokens that no other has."""
        number = next(_ids)
        sampling = SamplingParams(max_tokens=output)
        tokens = list(range(number * 10_000, number * 10_000 + prompt))
        sequence = Sequence(
            str(number), 0, prompt, sampling, 1 << 30, tokens, share=Share(tenant, **share), group=adapter
        )
        self.came[sequence] = self.now
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> list[Sequence]:
        """One step: who had a part of it, in order."""
        plan = self.scheduler.schedule()
        self.now += 0.03 + 0.001 * sum(each.count for each in plan)
        self.scheduler.advance(plan)
        for each in plan:
            one = each.sequence
            prompt = max(min(each.end, one.prompt_len) - each.start, 0)
            cost = PROMPT_COST * prompt + OUTPUT_COST * each.samples
            self.served[one.share.tenant] += cost
            if each.samples:
                if not one.num_output:
                    self.ttft[one.share.tenant].append(self.now - self.came[one])
                    self.order.append(one)
                self.scheduler.land(one, 7)
                if one.finish_reason is not None:
                    self.scheduler.remove(one)
        return [each.sequence for each in plan]

    def drain(self, limit: int = 100_000) -> None:
        """Step until nobody is left."""
        for _ in range(limit):
            if not (self.scheduler.running or self.scheduler.waiting):
                self.scheduler.check_integrity()
                assert self.scheduler.pool.num_used == 0
                return
            assert self.step(), "the scheduler is stuck"
        raise AssertionError("the scheduler never finished")


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def test_one_tenant_with_one_adapter_is_served_first_come_first_served() -> None:
    world, draw = World(seats=3), random.Random(0)
    sent = [world.send("a", draw.randrange(1, 900), draw.randrange(1, 30), adapter="x") for _ in range(60)]
    world.drain()
    assert world.order == sent
    assert world.scheduler.seats.counts.pauses == 0


def all_wait(world: World, tenants: set[str]) -> bool:
    """Whether each has a request that was not begun."""
    return tenants <= {each.share.tenant for each in world.scheduler.waiting if not each.begun}


@given(
    shapes=st.lists(st.tuples(st.integers(1, 400), st.integers(1, 30)), min_size=2, max_size=4),
    seats=st.integers(1, 6),
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=4, max_size=4),
)
def test_whoever_always_waits_gets_its_share_by_weight_whatever_it_sends(
    shapes: list[tuple[int, int]], seats: int, weights: list[float]
) -> None:
    """The paper's theorem 4.4: they differ by no more than what is in work at once, twice."""
    world = World(seats=seats)
    share = {str(number): weights[number] for number in range(len(shapes))}
    for number, (prompt, output) in enumerate(shapes):
        for _ in range(15):
            world.send(str(number), prompt, output, weight=weights[number])
    one = max(PROMPT_COST * prompt + OUTPUT_COST * output for prompt, output in shapes)
    while all_wait(world, share.keys()):
        served = [world.served[tenant] / weight for tenant, weight in share.items()]
        assert max(served) - min(served) <= 2 * (seats + 1) * one / min(share.values())
        world.step()
    world.drain()


def test_a_weight_of_two_gets_twice_as_much() -> None:
    world = World(seats=4)
    for _ in range(2000):
        world.send("two", 40, 10, weight=2.0)
        world.send("one", 40, 10)
    for _ in range(2000):
        world.step()
    assert world.scheduler.waiting.head() is not None
    assert world.served["two"] / world.served["one"] == pytest.approx(2.0, rel=0.05)


def test_idling_saves_no_credit() -> None:
    world = World(seats=2)
    for _ in range(1000):
        world.send("busy", 40, 10)
    for _ in range(1000):
        world.step()
    before = world.served["busy"]
    for _ in range(1000):
        world.send("late", 40, 10)
    for _ in range(1000):
        world.step()
    credit = CREDIT_STEPS * world.tokens * PROMPT_COST
    ahead = world.served["late"] - (world.served["busy"] - before)
    assert ahead <= credit + 2 * (40 * PROMPT_COST + 10 * OUTPUT_COST)
    assert world.served["late"] > 5 * credit


def test_who_was_served_much_does_not_get_rid_of_it_by_idling_for_a_moment() -> None:
    world = World(seats=2)
    for _ in range(50):
        world.send("busy", 40, 10)
        world.send("other", 40, 10)
    for _ in range(20):
        world.send("busy", 40, 200, priority=-1)
    while any(each.share.tenant == "busy" for each in world.scheduler.waiting if each.share.priority):
        world.step()
    owed = world.served["busy"] - world.served["other"]
    for each in [each for each in world.scheduler.waiting if each.share.tenant == "busy"]:
        world.scheduler.remove(each)
    again = world.send("busy", 40, 10)
    while not again.begun:
        world.step()
    assert world.served["other"] >= min(owed / 2, 40 * (40 * PROMPT_COST + 10 * OUTPUT_COST))


def test_within_a_tenant_adapters_have_turns() -> None:
    world = World(seats=2)
    for _ in range(500):
        world.send("a", 40, 10, adapter="flood")
    for _ in range(100):
        world.step()
    late = [world.send("a", 40, 10, adapter="quiet") for _ in range(5)]
    while late[-1].finish_reason is None:
        world.step()
    place = world.order.index(late[-1]) - world.order.index(late[0])
    assert place <= 12
    assert world.scheduler.seats.counts.pauses == 0


def test_priorities_come_strictly_one_after_the_other() -> None:
    world = World(seats=1)
    sent = {priority: [world.send("ab"[number % 2], priority=priority) for number in range(6)] for priority in (3, -2)}
    world.drain()
    assert set(world.order[:6]) == set(sent[-2])


def test_who_is_more_urgent_takes_a_seat_and_the_other_goes_on_later_without_computing_again() -> None:
    world = World(seats=1)
    slow = world.send(prompt=40, output=50)
    world.step()
    urgent = world.send(prompt=40, output=3, priority=-1)
    assert world.step() == [urgent]
    world.step()
    world.step()
    assert world.step() == [slow]
    world.drain()
    assert (slow.preemptions, world.scheduler.seats.counts.pauses) == (0, 1)
    assert world.served[""] == 2 * 40 * PROMPT_COST + 53 * OUTPUT_COST


def test_long_answers_of_one_do_not_keep_all_seats_from_another() -> None:
    world = World(seats=4)
    long = [world.send("flood", 50, 500) for _ in range(20)]
    for _ in range(10):
        world.step()
    light = world.send("light", 50, 5)
    assert light in world.step()
    assert [each.preemptions for each in long] == [0] * 20
    world.drain()
    assert [each.num_output for each in long] == [500] * 20


@pytest.mark.parametrize("seats", [4, 5])
def test_a_seat_is_not_passed_to_and_fro(seats: int) -> None:
    world = World(seats=seats)
    for _ in range(20):
        world.send("a", 50, 300)
        world.send("b", 50, 300)
    for _ in range(200):
        world.step()
    assert world.scheduler.seats.counts.pauses <= 2


def test_who_was_served_more_takes_no_seat_back() -> None:
    world = World(seats=4)
    served = [world.send("served", 50, 2000) for _ in range(4)]
    for _ in range(300):
        world.step()
    for each in served[1:]:
        world.scheduler.remove(each)
    for _ in range(3):
        world.send("new", 50, 400)
    world.step()
    more = [world.send("served", 50, 2000) for _ in range(3)]
    for _ in range(50):
        world.step()
    assert not any(each.begun for each in more)
    assert world.scheduler.seats.counts.pauses == 0


def test_one_who_holds_all_the_memory_gives_some_back() -> None:
    world = World(seats=8, blocks=64)
    for _ in range(8):
        world.send("flood", 100, 400)
    for _ in range(30):
        world.step()
    light = world.send("light", 100, 5)
    for _ in range(3):
        world.step()
    assert light.num_output > 0
    assert light.preemptions == 0
    world.drain()


@pytest.mark.parametrize("tenants", [1, 2, 3, 6])
@pytest.mark.parametrize("lengths", [(900, 1000), (1500, 1510), (300, 1600)], ids=str)
def test_prompts_that_do_not_fit_together_are_computed_one_after_the_other(
    tenants: int, lengths: tuple[int, int]
) -> None:
    """Each would take the other's blocks for ever, were it enough to hold no more than the other does."""
    chance = random.Random(tenants)
    world = World(seats=32, tokens=256, blocks=120)
    requests = [world.send(f"tenant {i % tenants}", chance.randint(*lengths), 40) for i in range(24)]
    world.drain(24 * 200)
    assert world.scheduler.seats.counts.preemptions <= 2 * len(requests)


def test_a_flood_of_long_prompts_leaves_the_next_step_to_anothers_prompt() -> None:
    world = World(seats=32)
    world.send("light", 100, 1)
    for _ in range(50):
        world.send("flood", 2000, 10)
    for _ in range(5):
        world.step()
    light = world.send("light", 200, 5)
    assert light in world.step()
    assert light.num_output == 1


N = 60


def flooded(flood: Callable[[World], None] | None, seed: int = 1) -> float:
    """The light tenant's p95 time to first token."""
    world, draw = World(seats=16), random.Random(seed)
    arrivals: Iterator[float] = iter(itertools.accumulate(draw.expovariate(0.5) for _ in range(10**6)))
    due = next(arrivals)
    while len(world.ttft["light"]) < N:
        while due <= world.now:
            one = world.send("light", 256, 16)
            world.came[one] = due
            due = next(arrivals)
        if flood is not None:
            flood(world)
        if world.scheduler.running or world.scheduler.waiting:
            world.step()
        else:
            world.now = due
    return percentile(world.ttft["light"], 0.95)


@pytest.mark.parametrize(("prompt", "output"), [(256, 16), (2000, 4), (30, 400)])
def test_beside_a_flood_the_first_token_comes_nearly_as_soon_as_alone(prompt: int, output: int) -> None:
    def flood(world: World) -> None:
        while len(world.scheduler.waiting) < 100:
            world.send("flood", prompt, output)

    alone, beside = flooded(None), flooded(flood)
    assert beside <= 1.5 * alone, (alone, beside)


def test_nobody_starves_beside_new_tenants_that_keep_coming() -> None:
    world = World(seats=2)
    for _ in range(12):
        world.send("old", 40, 10)
    for number in range(150):
        world.send(f"new {number}", 40, 10)
        for _ in range(12):
            world.step()
    assert not any(each.share.tenant == "old" for each in world.scheduler.waiting)


def test_accounts_of_the_idle_are_forgotten() -> None:
    counters = VirtualCounters()
    stays = counters.enter("stays", "", 1.0)
    for number in range(5000):
        payers = counters.enter(f"tenant {number}", "x", 1.0)
        stays.charge(10.0)
        payers.charge(1.0)
        counters.leave(payers)
    assert len(counters) < 1000
    counters.leave(stays)
    assert len(counters) == 0


def test_adapters_that_are_idle_are_forgotten_while_their_tenant_is_not() -> None:
    counters = VirtualCounters()
    stays = counters.enter("tenant", "stays", 1.0)
    for number in range(5000):
        payers = counters.enter("tenant", f"adapter {number}", 1.0)
        stays.charge(10.0)
        payers.charge(1.0)
        counters.leave(payers)
    assert len(counters) < 1000
    much = counters.enter("tenant", "much", 1.0)
    much.charge(1e9)
    counters.leave(much)
    for number in range(1000):
        counters.leave(counters.enter("tenant", f"more {number}", 1.0))
    assert counters.enter("tenant", "much", 1.0).adapter is much.adapter  # which owes something yet
