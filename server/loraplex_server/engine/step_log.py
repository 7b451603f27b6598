"""How wide the steps were, until somebody asks."""

from __future__ import annotations

from collections.abc import Sequence as Seq

from loraplex_server.engine.messages import Steps
from loraplex_server.engine.scheduler import Scheduled


class StepLog:
    """One entry for each step that was launched."""

    def __init__(self) -> None:
        self._steps = Steps()
        self.last = 0, 0  # tokens of the latest step, and those of prompts among them

    def add(self, plan: Seq[Scheduled]) -> None:
        """A step is launched; none of an empty plan is."""
        tokens = sum(scheduled.count for scheduled in plan)
        self.last = tokens, sum(each.count for each in plan if each.count > 1 and not each.draft)
        self._steps.tokens.append(tokens)
        self._steps.sequences.append(len(plan))
        # A slot holds one adapter, so its number is as good as a name, and shorter to hash.
        self._steps.adapters.append(len({use.slot for scheduled in plan for use in scheduled.sequence.adapters}))

    def take(self) -> Steps:
        """The steps since the last call."""
        steps, self._steps = self._steps, Steps()
        return steps
