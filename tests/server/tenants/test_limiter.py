"""Limits, by a clock that stands still unless it is moved."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraplex_server.tenants.bucket import Bucket
from loraplex_server.tenants.limiter import Limiter, LimitReachedError, NeverFitsError, Ticket
from loraplex_server.tenants.limits import Limits


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    return Limiter(clock)


def refused(ask: Callable[[], object]) -> LimitReachedError:
    with pytest.raises(LimitReachedError) as caught:
        ask()
    return caught.value


def test_so_many_requests_pass_a_minute_and_no_more(limiter: Limiter, clock: Clock) -> None:
    def ask() -> Ticket:
        return limiter.admit("k", Limits(requests=6))

    for _ in range(6):
        ask().close(0)
    error = refused(ask)
    assert (error.kind, error.retry_after) == ("requests", pytest.approx(10))
    clock.now += 9.99
    refused(ask)
    clock.now += 0.01
    ask()
    refused(ask)
    clock.now += 1e6
    for _ in range(6):
        ask()
    refused(ask)


def test_keys_know_nothing_of_each_other(limiter: Limiter) -> None:
    limits = Limits(requests=1, tokens=10, concurrency=1)
    limiter.admit("a", limits).reserve(10)
    limiter.admit("b", limits).reserve(10)


def test_so_many_are_inside_at_once(limiter: Limiter) -> None:
    tickets = [limiter.admit("k", Limits(concurrency=3)) for _ in range(3)]
    assert refused(lambda: limiter.admit("k", Limits(concurrency=3))).kind == "concurrency"
    tickets.pop().close(0)
    tickets.append(limiter.admit("k", Limits(concurrency=3)))
    refused(lambda: limiter.admit("k", Limits(concurrency=3)))


def test_who_is_one_too_many_at_once_counts_for_no_request(limiter: Limiter) -> None:
    limits = Limits(requests=2, concurrency=1)
    first = limiter.admit("k", limits)
    for _ in range(5):
        assert refused(lambda: limiter.admit("k", limits)).kind == "concurrency"
    first.close(0)
    limiter.admit("k", limits)


def test_tokens_are_set_aside_and_the_rest_comes_back(limiter: Limiter, clock: Clock) -> None:
    limits = Limits(tokens=600)
    first = limiter.admit("k", limits)
    first.reserve(500)
    second = limiter.admit("k", limits)
    error = refused(lambda: second.reserve(200))
    assert (error.kind, error.retry_after) == ("tokens", pytest.approx(10))
    first.close(used=100)
    second.reserve(200)
    second.close(used=200)
    third = limiter.admit("k", limits)
    third.reserve(300)
    refused(lambda: third.reserve(1))


def test_what_never_ran_costs_nothing(limiter: Limiter) -> None:
    for _ in range(5):
        ticket = limiter.admit("k", Limits(tokens=100))
        ticket.reserve(100)
        ticket.close(used=0)


def test_what_is_larger_than_a_minute_never_fits(limiter: Limiter) -> None:
    ticket = limiter.admit("k", Limits(tokens=100))
    with pytest.raises(NeverFitsError, match=r"may use 101 tokens.* 100 a minute"):
        ticket.reserve(101)
    ticket.reserve(100)


def test_an_answer_without_a_limit_sets_a_part_aside_and_owes_the_rest(limiter: Limiter, clock: Clock) -> None:
    limits = Limits(tokens=800)
    tickets = [limiter.admit("k", limits) for _ in range(7)]
    for ticket in tickets:
        ticket.reserve(10, open_answers=1, largest=100_000)  # 10 and 100
    refused(lambda: limiter.admit("k", limits).reserve(10, open_answers=1, largest=100_000))
    for ticket in tickets:
        ticket.close(used=210)  # 100 more than was set aside: 30 were left, 670 are owed
    error = refused(lambda: limiter.admit("k", limits).reserve(1))
    assert error.retry_after == pytest.approx(671 * 60 / 800)
    clock.now += error.retry_after
    limiter.admit("k", limits).reserve(1)


def test_short_answers_set_aside_no_more_than_they_can_have(limiter: Limiter) -> None:
    ticket = limiter.admit("k", Limits(tokens=800))
    ticket.reserve(700, open_answers=1, largest=5)
    ticket.reserve(95)
    refused(lambda: ticket.reserve(1))


def test_limits_may_change(limiter: Limiter) -> None:
    limiter.admit("k", Limits(requests=2))
    limiter.admit("k", Limits(requests=2))
    refused(lambda: limiter.admit("k", Limits(requests=2)))
    limiter.admit("k", Limits(requests=3))
    refused(lambda: limiter.admit("k", Limits(requests=3)))
    refused(lambda: limiter.admit("k", Limits(requests=1)))
    limiter.admit("k", Limits())
    limiter.admit("k", Limits(tokens=5)).reserve(5)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), max_size=60))
def test_over_any_time_no_more_passes_than_a_minute_and_what_time_brought(steps: list[tuple[float, int]]) -> None:
    bucket, now, taken = Bucket(50, 0.0), 0.0, 0
    for pause, amount in steps:
        now += pause
        wait = bucket.take(amount, now)
        if wait == 0:
            taken += amount
        elif wait < 1e6:
            assert Bucket.take(bucket, amount, now + wait * (1 + 1e-9)) == 0
            now += wait * (1 + 1e-9)
            taken += amount
        assert taken <= 50 + now * 50 / 60 + 1e-3
        assert bucket.level(now) + 1e-6 >= 0
        assert bucket.level(now) <= 50
