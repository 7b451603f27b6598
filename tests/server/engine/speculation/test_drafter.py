"""What is proposed behind a match, and how much that is trusted."""

from __future__ import annotations

import pytest

from loraplex_server.engine.speculation.drafter import Drafter
from loraplex_server.engine.speculation.ngram_index import Match, NgramIndex
from loraplex_server.engine.speculation.trust import prior


def drafter() -> Drafter:
    return Drafter(NgramIndex(2, 3), prior())


def proposed(tokens: list[int], count: int) -> tuple[int, ...] | None:
    one = drafter()
    match = one.match(tokens)
    return None if match is None else one.draft(tokens, match, count)


def test_what_followed_is_proposed() -> None:
    assert proposed([1, 2, 3, 4, 5, 6, 9, 1, 2], 3) == (3, 4, 5)
    assert proposed([1, 2, 3, 4, 5], 3) is None


def test_a_text_that_runs_in_a_circle_is_proposed_to_run_on() -> None:
    assert proposed([8, 9, 5, 6, 7, 5, 6], 7) == (7, 5, 6, 7, 5, 6, 7)
    assert proposed([4, 4, 4], 4) == (4, 4, 4, 4)


def test_trust_follows_what_is_accepted_and_comes_back() -> None:
    one, match = drafter(), Match(2, 1)
    start = one.trust(match)
    one.draft([1, 2, 1, 2], match, 2)
    for _ in range(20):
        one.learn(3, 0)
    low = one.trust(match)
    assert low < 0.1
    one.learn(5, 4)
    assert low < one.trust(match) < 1
    for _ in range(10_000):
        one.rest(match)
    assert one.trust(match) == pytest.approx(start, abs=0.05)
    for _ in range(100):
        one.learn(5, 5)
    assert start < one.trust(match) <= 1


def test_a_longer_match_is_judged_by_itself() -> None:
    one = drafter()
    short, long = Match(2, 1), Match(3, 1)
    before = one.trust(long)
    one.draft([1, 2, 1, 2], short, 2)
    for _ in range(10):
        one.learn(2, 0)
    assert one.trust(short) < one.trust(long) == before == one.highest_trust


def test_the_next_sequence_begins_with_what_those_before_it_taught() -> None:
    taught, match = prior(), Match(2, 1)
    first = Drafter(NgramIndex(2, 3), taught)
    before = first.trust(match)
    first.draft([1, 2, 1, 2], match, 2)
    for _ in range(30):
        first.learn(2, 0)
    second = Drafter(NgramIndex(2, 3), taught)
    assert first.trust(match) < second.trust(match) < before
