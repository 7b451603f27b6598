"""How many steps were replayed, and why the others were not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from loraplex_kernels.attention import Span
from loraplex_server.engine.messages import ReplayStats
from loraplex_server.models.adapter_step import AdapterStep

logger = logging.getLogger(__name__)

Reason = Literal["prompt", "terms", "rank", "adapters", "room", "kernels"]

# What the log says, once of each. Prompts are never replayed, and of kernels that no tape holds it has said more.
_TOLD: dict[Reason, str] = {
    "terms": "an adapter of the step brings more than low-rank updates (biases, norms, whole weights, rotations, ...)",
    "rank": "an adapter of the step has a higher rank than any CUDA graph is captured for",
    "adapters": "the step mixes more adapters than --max-num-seqs rows have room for",
    "room": "there is no room for one more CUDA graph",
}


def never_replayed(spans: Sequence[Span], step: AdapterStep | None) -> Reason | None:
    """Why neither graphs nor tapes hold such a step; None where they may. Args: spans: of its sequences."""
    if any(span.count != 1 for span in spans):
        return "prompt"
    return "terms" if step is not None and step.terms else None


class Outcomes:
    """Counts, and warns of each reason when it first comes up: such steps are slower, and nothing else shows it."""

    def __init__(self) -> None:
        self._replayed = 0
        self._others: Counter[str] = Counter()
        self._told: set[Reason] = set()

    def replayed(self) -> None:
        """A step was."""
        self._replayed += 1

    def left(self, reason: Reason, what: str = "") -> None:
        """A step was not, and is left to be run.

        Args:
            reason: why.
            what: more of it, for the log.
        """
        self._others[reason] += 1
        if reason in _TOLD and reason not in self._told:
            self._told.add(reason)
            more = f" ({what})" if what else ""
            logger.warning("decode steps are not replayed, which is slower, where %s%s", _TOLD[reason], more)

    def forget(self) -> None:
        """Count anew; what was told stays told."""
        self._replayed = 0
        self._others.clear()

    def stats(self) -> ReplayStats:
        """The counts."""
        return ReplayStats(replayed_total=self._replayed, run_total=dict(self._others))
