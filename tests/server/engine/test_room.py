"""Places for answers, and when there will be some again, on a clock of the test's own."""

from __future__ import annotations

import itertools

import pytest

from loraplex_server.engine.drain import DrainRate
from loraplex_server.engine.interface import InvalidRequestError, QueueFullError
from loraplex_server.engine.messages import GenerateRequest, SamplingParams, Share
from loraplex_server.engine.room import Room

_ids = itertools.count()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def request(tenant: str = "", n: int = 1) -> GenerateRequest:
    return GenerateRequest(
        request_id=str(next(_ids)),
        prompt_token_ids=[1],
        sampling=SamplingParams(max_tokens=1),
        n=n,
        share=Share(tenant),
    )


def fill(room: Room, tenant: str, limit: int = 1000) -> list[GenerateRequest]:
    """As many as it takes."""
    inside = []
    for _ in range(limit):
        one = request(tenant)
        try:
            room.enter(one)
        except QueueFullError:
            break
        inside.append(one)
    return inside


def test_without_names_one_may_fill_the_whole_queue(clock: Clock) -> None:
    assert len(fill(Room(4, 20, None, clock), "")) == 24


def test_a_flood_leaves_others_as_much_of_the_queue_as_it_takes(clock: Clock) -> None:
    room = Room(4, 20, None, clock)
    assert len(fill(room, "flood")) == 4 + 10
    assert len(fill(room, "light", 3)) == 3
    assert len(fill(room, "another flood")) < 10
    assert fill(room, "late")


def test_seats_are_for_whoever_comes_where_nobody_waits(clock: Clock) -> None:
    assert len(fill(Room(4, 0, None, clock), "alone")) == 4


def test_a_tenants_part_can_be_set(clock: Clock) -> None:
    room = Room(4, 20, 3, clock)
    assert len(fill(room, "flood")) == 4 + 3
    assert len(fill(room, "other")) == 4 + 3
    assert len(fill(room, "")) == 10


def test_who_leaves_makes_room(clock: Clock) -> None:
    room = Room(1, 2, None, clock)
    inside = fill(room, "a")
    room.leave(inside[0])
    assert len(fill(room, "a")) == 1


@pytest.mark.parametrize(("tenant", "per_tenant", "n"), [("", None, 7), ("a", 1, 5), ("a", None, 6)])
def test_what_never_fits_is_no_matter_of_coming_back(clock: Clock, tenant: str, per_tenant: int | None, n: int) -> None:
    room = Room(3, 3, per_tenant, clock)
    with pytest.raises(InvalidRequestError, match="at the most"):
        room.enter(request(tenant, n))


def test_come_back_when_as_many_have_left_as_leave_lately(clock: Clock) -> None:
    room = Room(2, 8, None, clock)
    inside = fill(room, "")
    for one in inside[:4]:
        clock.now += 3.0
        room.leave(one)
        room.enter(request())
    with pytest.raises(QueueFullError) as refusal:
        room.enter(request(n=5))
    assert refusal.value.retry_after == 15


def test_a_tenant_comes_back_at_the_rate_at_which_its_own_leave(clock: Clock) -> None:
    room = Room(1, 8, 2, clock)
    slow, fast = fill(room, "slow"), fill(room, "fast")
    for _ in range(20):
        clock.now += 1.0
        room.leave(fast.pop())
        fast.append(request("fast"))
        room.enter(fast[-1])
    room.leave(slow.pop())
    room.enter(request("slow"))
    with pytest.raises(QueueFullError) as refusal:
        room.enter(request("slow"))
    assert refusal.value.retry_after == 20
    with pytest.raises(QueueFullError) as refusal:
        room.enter(request("fast"))
    assert refusal.value.retry_after == 1


def test_a_fresh_server_says_come_back_in_a_second(clock: Clock) -> None:
    drain = DrainRate(clock)
    drain.came(3)
    clock.now = 500.0
    assert drain.seconds_for(3) == 1


def test_hours_without_work_do_not_slow_the_rate(clock: Clock) -> None:
    drain = DrainRate(clock)
    for _ in range(10):
        drain.came(1)
        clock.now += 2.0
        drain.left(1)
    clock.now += 10_000.0
    drain.came(1)
    assert drain.seconds_for(3) == 6


def test_a_stalled_engine_is_no_more_promising_with_time(clock: Clock) -> None:
    drain = DrainRate(clock)
    drain.came(100)
    said = []
    for _ in range(5):
        clock.now += 1.0
        drain.left(1)
    for _ in range(5):
        said.append(drain.seconds_for(5))
        clock.now += 5.0
    assert said == sorted(said)
    assert said[0] == 5
    clock.now += 1e6
    assert drain.seconds_for(5) == 60
