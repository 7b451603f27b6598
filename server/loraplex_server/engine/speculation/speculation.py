"""Which sequences of a step propose tokens, and how many."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from loraplex_server.engine.speculation.drafter import Drafter
from loraplex_server.engine.speculation.ngram_index import NgramIndex
from loraplex_server.engine.speculation.settings import SpeculationSettings
from loraplex_server.engine.speculation.trust import prior

if TYPE_CHECKING:  # which have a Drafter, and a Speculation
    from loraplex_server.engine.scheduler import Scheduled
    from loraplex_server.engine.sequence import Sequence


# A draft must be worth so much more than its rows: it also takes the host's time, and how likely it is is a guess.
MARGIN = 1.2


class Speculation:
    """Drafts are worth their rows: a token more is proposed while it is likelier to be accepted than it costs.

    A step of n rows takes as long as `spare_rows` + n rows would, so that a row more costs n / (n + spare_rows) of
    what a token costs on average. One row alone may try nearly anything; in a full batch only what copies is drafted.

    Args:
        settings: of the engine.
        spare_rows: of its steps, see `measured_spare_rows`.
    """

    def __init__(self, settings: SpeculationSettings, spare_rows: float = 8.0) -> None:
        self.settings = settings
        self.spare_rows = spare_rows
        self._prior = prior()

    def extend(self, plan: list[Scheduled], budget: int, reserve: Callable[[Sequence, int], int]) -> None:
        """Let sequences of the plan propose, in place; those that were right most often come first.

        Args:
            plan: of the step, which needs nothing more.
            budget: tokens that may be added to it.
            reserve: finds room behind what the plan computes of a sequence, for so many tokens at most; says for how
                many there is.
        """
        rows = sum(entry.count for entry in plan)
        budget = min(budget, self.settings.rows - rows)
        found = []
        for place, entry in enumerate(plan):
            drafter = self._drafter(entry)
            match = None if drafter is None else drafter.match(entry.sequence.tokens)
            if drafter is not None and match is not None:
                found.append((drafter.trust(match), place, drafter, match))
        found.sort(key=lambda each: -each[0])
        for trust, place, drafter, match in found:
            sequence = plan[place].sequence
            count = min(self._worth(trust, rows), budget, sequence.draft_room)
            if count > 0:
                count = reserve(sequence, count)
            if count <= 0:
                drafter.rest(match)
                continue
            plan[place] = plan[place].with_draft(drafter.draft(sequence.tokens, match, count))
            rows += count
            budget -= count

    def waits_for(self, sequence: Sequence, rows: int) -> bool:
        """Whether the sequence's newest token should be known before the next step, since it may well propose.

        Args:
            sequence: that has a token in flight.
            rows: that the step has in any case.
        """
        if not may_speculate(sequence) or sequence.draft_room <= 0:
            return False
        return sequence.drafter is None or self._worth(sequence.drafter.highest_trust, rows) > 0

    def _worth(self, trust: float, rows: int) -> int:
        """How many tokens to propose."""
        count, chance = 0, trust
        while count < self.settings.tokens and chance * (rows + self.spare_rows) > MARGIN * rows:
            count, rows, chance = count + 1, rows + 1, chance * trust
        return count

    def _drafter(self, entry: Scheduled) -> Drafter | None:
        """Of an entry that may propose; made by the first one that does."""
        sequence = entry.sequence
        # Only what decodes, one token a step: the newest is known, and it is one that the sequence chose itself. What
        # comes back from a preemption may have several of its own to compute, one of them in this step.
        if entry.count != 1 or not entry.samples or entry.start < sequence.prompt_len:
            return None
        if sequence.in_flight or not may_speculate(sequence):
            return None
        if sequence.drafter is None:
            index = NgramIndex(self.settings.shortest, self.settings.longest, sequence.virtual)
            sequence.drafter = Drafter(index, self._prior)
        return sequence.drafter


def may_speculate(sequence: Sequence) -> bool:
    """Whether a token can be chosen behind a draft as it would be chosen behind the same tokens.

    Penalties count the tokens before, and a grammar has a state after them, which are kept of a sequence's own alone.
    """
    return not sequence.reads_output and sequence.sampling.grammar is None
