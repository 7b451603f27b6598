"""Looking up the last tokens gives what looking through the whole text gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraplex_server.engine.speculation.ngram_index import Match, NgramIndex


def latest(tokens: list[int], shortest: int, longest: int) -> Match | None:
    """The definition: by a walk over the text."""
    for count in range(longest, shortest - 1, -1):
        for end in range(len(tokens) - 1, count - 1, -1):
            if count <= len(tokens) and tokens[end - count : end] == tokens[len(tokens) - count :]:
                return Match(count, end)
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
    assert index.match() == (None if found is None else Match(found.length, found.place + first))


def test_tokens_of_any_vocabulary_are_told_apart() -> None:
    index = NgramIndex(2, 2)
    index.read([2**32 - 1, 0, 7, 1, 0])
    assert index.match() is None
    index.read([2**32 - 1, 0, 7, 1, 0, 2**32 - 1, 0])
    assert index.match() == Match(2, 2)


@pytest.mark.parametrize("lengths", [(0, 2), (3, 2), (-1, -1)])
def test_lengths_that_cannot_be_are_refused(lengths: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="n-grams"):
        NgramIndex(*lengths)
