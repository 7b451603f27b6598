"""What one sequence proposes of itself, and how often it was right."""

from __future__ import annotations

from collections.abc import Sequence

from loraplex_server.engine.speculation.ngram_index import NgramIndex

# How much one draft token that was accepted or not moves the estimate: it forgets in a dozen tokens.
PACE = 0.12
# What is thought of a sequence that was not asked yet: high, since only asking tells.
PRIOR = 0.9
# How much of the way back to the prior a step without a draft goes: text that does not repeat is asked again after
# some dozen tokens, since an answer may begin to copy anywhere.
RECOVERY = 0.01


class Drafter:
    """Args: index: of the sequence's tokens."""

    def __init__(self, index: NgramIndex) -> None:
        self._index = index
        self.trust = PRIOR  # estimated chance that a draft token is accepted, given that those before it were

    def propose(self, tokens: Sequence[int], count: int) -> tuple[int, ...]:
        """What may come next; () where nothing of the kind came before.

        It is what followed the latest occurrence of the last tokens. One so late that its continuation runs into the
        present is taken for a period, and goes on as one.

        Args:
            tokens: of the sequence.
            count: the most to propose.
        """
        self._index.read(tokens)
        place = self._index.following()
        if place is None or count <= 0:
            return ()
        period = len(tokens) - place
        return tuple(tokens[place + ahead % period] for ahead in range(count))

    def learn(self, drafted: int, accepted: int) -> None:
        """Take in how a draft did. Of those that were not accepted only the first was ever judged."""
        self.trust = 1 - (1 - self.trust) * (1 - PACE) ** accepted
        if accepted < drafted:
            self.trust *= 1 - PACE

    def rest(self) -> None:
        """It was not worth asking this time; what is known grows old."""
        self.trust += (PRIOR - self.trust) * RECOVERY
