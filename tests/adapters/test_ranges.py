"""Offsets and lengths only: what is taken never overlaps, and what came back is whole again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraplex_adapters.ranges import Ranges


def test_the_shortest_range_that_is_long_enough_is_taken() -> None:
    ranges = Ranges(100)
    taken = [ranges.take(length) for length in (10, 30, 10, 20, 10)]
    assert taken == [0, 10, 40, 50, 70]
    ranges.give_back(10, 30)
    ranges.give_back(50, 20)
    assert ranges.take(15) == 50


def test_neighbours_that_came_back_are_one_range() -> None:
    ranges = Ranges(30)
    for _ in range(3):
        ranges.take(10)
    for offset in (0, 20, 10):
        ranges.give_back(offset, 10)
    assert ranges.take(30) == 0


def test_none_is_given_where_none_is_long_enough() -> None:
    ranges = Ranges(30)
    for _ in range(3):
        ranges.take(10)
    ranges.give_back(0, 10)
    ranges.give_back(20, 10)
    assert ranges.free == 20
    assert ranges.take(11) is None
    assert Ranges(0).take(1) is None


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (5, 10), (15, 10), (95, 10), (-5, 10)])
def test_what_is_not_taken_cannot_come_back(offset: int, length: int) -> None:
    ranges = Ranges(100)
    ranges.take(100)
    ranges.give_back(0, 10)
    ranges.give_back(20, 10)
    with pytest.raises(ValueError, match="not taken"):
        ranges.give_back(offset, length)


def test_a_range_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Ranges(10).take(0)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40))))
def test_any_order_of_taking_and_giving_back(steps: list[tuple[bool, int]]) -> None:
    ranges, held = Ranges(100), {}
    for giving, number in steps:
        if giving and held:
            offset = list(held)[number % len(held)]
            ranges.give_back(offset, held.pop(offset))
        elif not giving:
            offset = ranges.take(number)
            if offset is not None:
                assert not any(at < offset + number and offset < at + have for at, have in held.items())
                assert 0 <= offset <= 100 - number
                held[offset] = number
        assert ranges.free == 100 - sum(held.values())
    for offset, length in held.items():
        ranges.give_back(offset, length)
    assert ranges.take(100) == 0
