"""What one sequence proposes of itself, and how often it was right."""

from __future__ import annotations

from collections.abc import Sequence

from loraplex_server.engine.speculation.ngram_index import Match, NgramIndex
from loraplex_server.engine.speculation.trust import Trust, beginning_with


class Drafter:
    """Args: index: of the sequence's tokens. prior: what all sequences have taught, and this one will."""

    def __init__(self, index: NgramIndex, prior: Trust) -> None:
        self._index = index
        self._prior = prior
        self._trust = beginning_with(prior)
        self._drafted = 0  # length of the match of the last draft

    def match(self, tokens: Sequence[int]) -> Match | None:
        """Where the sequence said its last tokens before.

        Args:
            tokens: all of them.
        """
        self._index.read(tokens)
        return self._index.match()

    def trust(self, match: Match) -> float:
        """The chance that each next token of a draft is accepted."""
        return self._trust.of(match.length)

    @property
    def highest_trust(self) -> float:
        """In a draft from any match."""
        return max(map(self._trust.of, self._index.lengths))

    def draft(self, tokens: Sequence[int], match: Match, count: int) -> tuple[int, ...]:
        """What followed there. Where that runs into the present it is taken for a period, and goes on as one.

        Args:
            tokens: of the sequence.
            match: of these tokens.
            count: tokens of the draft.
        """
        self._drafted = match.length
        period = len(tokens) - match.place
        return tuple(tokens[match.place + ahead % period] for ahead in range(count))

    def learn(self, drafted: int, accepted: int) -> None:
        """Take in how the last draft did."""
        for trust in (self._trust, self._prior):
            trust.learn(self._drafted, drafted, accepted)

    def rest(self, match: Match) -> None:
        """It was not worth asking this time."""
        for trust in (self._prior, self._trust):
            trust.rest(match.length)
