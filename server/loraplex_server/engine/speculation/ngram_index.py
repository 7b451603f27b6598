"""Where a sequence said its last few tokens before, and what followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_TOKEN_BITS = 32


class Match(NamedTuple):
    """The last tokens, found again."""

    length: int  # how many of them
    place: int  # position of what followed them there


class NgramIndex:
    """The latest place at which each n-gram of a growing sequence was followed by a token.

    Prompt lookup (Saxena 2023, "Prompt Lookup Decoding"). An n-gram is kept as one integer, so that neither adding a
    token nor looking the last ones up walks over the text: both are a dictionary's work for each of the lengths.

    Args:
        shortest: tokens of an n-gram, at least 1.
        longest: the same.
        first: position of the first token that is text; those before it say nothing.

    Raises:
        ValueError: there are no such lengths.
    """

    def __init__(self, shortest: int, longest: int, first: int = 0) -> None:
        if not 1 <= shortest <= longest:
            raise ValueError(f"n-grams of {shortest} to {longest} tokens: there are none")
        self._following: list[tuple[int, int, dict[int, int]]] = [
            (count, (1 << _TOKEN_BITS * count) - 1, {}) for count in range(longest, shortest - 1, -1)
        ]
        self._first = first
        self._end = first  # the tokens before it were read
        self._last = 0  # the last `longest` of them, the newest in the lowest bits

    @property
    def lengths(self) -> list[int]:
        """Of the n-grams, longest first."""
        return [count for count, _, _ in self._following]

    def read(self, tokens: Sequence[int]) -> None:
        """Take in what is new of a sequence that only grows at its end.

        Args:
            tokens: all of it.
        """
        _, widest, _ = self._following[0]
        for place in range(self._end, len(tokens)):
            before = place - self._first
            for count, mask, following in self._following:
                if before >= count:
                    following[self._last & mask] = place
            self._last = (self._last << _TOKEN_BITS | tokens[place]) & widest
        self._end = len(tokens)

    def match(self) -> Match | None:
        """The latest earlier occurrence of the last tokens, as many of them as occurred; None where none did."""
        read = self._end - self._first
        for count, mask, following in self._following:
            if read >= count and (place := following.get(self._last & mask)) is not None:
                return Match(count, place)
        return None
