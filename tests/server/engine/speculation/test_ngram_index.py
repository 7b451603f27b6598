"""Looking up the last tokens gives what looking through the whole text gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraplex_server.engine.speculation.drafter import Drafter
from loraplex_server.engine.speculation.ngram_index import NgramIndex


def latest(tokens: list[int], shortest: int, longest: int) -> int | None:
    """The definition: by a walk over the text."""
    for count in range(longest, shortest - 1, -1):
        for end in range(len(tokens) - 1, count - 1, -1):
            if count <= len(tokens) and tokens[end - count : end] == tokens[len(tokens) - count :]:
                return end
    return None


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 3), st.integers(0, 3), st.integers(0, 5), st.data())
def test_it_finds_the_latest_place_of_the_longest_match(
    tokens: list[int], shortest: int, more: int, first: int, data: st.DataObject
) -> None:
    index = NgramIndex(shortest, shortest + more, first)
    cut = data.draw(st.integers(0, len(tokens)))
    index.read(tokens[:cut])  # it may be asked at any time
    index.read(tokens)
    found = latest(tokens[first:], shortest, shortest + more)
    assert index.following() == (None if found is None else found + first)


def test_tokens_of_any_vocabulary_are_told_apart() -> None:
    index = NgramIndex(2, 2)
    index.read([2**32 - 1, 0, 7, 1, 0])
    assert index.following() is None
    index.read([2**32 - 1, 0, 7, 1, 0, 2**32 - 1, 0])
    assert index.following() == 2


@pytest.mark.parametrize("lengths", [(0, 2), (3, 2), (-1, -1)])
def test_lengths_that_cannot_be_are_refused(lengths: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="n-grams"):
        NgramIndex(*lengths)


def proposed(tokens: list[int], count: int) -> tuple[int, ...]:
    return Drafter(NgramIndex(2, 3)).propose(tokens, count)


def test_what_followed_is_proposed() -> None:
    assert proposed([1, 2, 3, 4, 5, 6, 9, 1, 2], 3) == (3, 4, 5)
    assert proposed([1, 2, 3, 4, 5], 3) == ()
    assert proposed([1, 2, 3, 1, 2], 0) == ()


def test_a_text_that_runs_in_a_circle_is_proposed_to_run_on() -> None:
    assert proposed([8, 9, 5, 6, 7, 5, 6], 7) == (7, 5, 6, 7, 5, 6, 7)
    assert proposed([4, 4, 4], 4) == (4, 4, 4, 4)


def test_trust_follows_what_is_accepted_and_comes_back() -> None:
    drafter = Drafter(NgramIndex(2, 3))
    start = drafter.trust
    for _ in range(20):
        drafter.learn(3, 0)
    assert drafter.trust < 0.1
    low = drafter.trust
    drafter.learn(5, 4)
    assert low < drafter.trust < 1
    for _ in range(500):
        drafter.rest()
    assert drafter.trust == pytest.approx(start, abs=0.01)
    for _ in range(100):
        drafter.learn(5, 5)
    assert start < drafter.trust <= 1
