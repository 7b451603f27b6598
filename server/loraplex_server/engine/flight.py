"""A step on its way: launched, its results not looked at yet."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from loraplex_server.engine.choice import Choice, Choosing
from loraplex_server.engine.messages import TokenLogprob
from loraplex_server.engine.pooling import Pooled
from loraplex_server.engine.scheduler import Scheduled
from loraplex_server.engine.sequence import Sequence


class StepResult(NamedTuple):
    """What a step gave one scheduled sequence."""

    # The next token, and behind a draft one for each token of it; none where the prompt is not wholly computed.
    choices: Seq[Choice] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()  # of the prompt tokens from `num_scored` on, as far as computed
    pooled: Pooled | None = None  # of the prompt's hidden states


NOTHING_CHOSEN = StepResult()


@dataclass(frozen=True)
class Chosen:
    """The tokens that a step chose, first on the device and later here."""

    rows: Mapping[Sequence, range]  # of the sequences that tokens were chosen for, in order and end to end
    tokens: Tensor  # int64 [R], on the device
    choosing: Choosing  # the same on its way to the host

    def results(self) -> dict[Sequence, StepResult]:
        """By sequence; waits for the device."""
        choices = self.choosing.finish()
        return {sequence: StepResult(choices[rows.start : rows.stop]) for sequence, rows in self.rows.items()}


@dataclass(frozen=True)
class Flight:
    """Of one plan."""

    plan: list[Scheduled]
    chosen: Chosen | None  # None where no sequence reached its last token
    prompt_logprobs: Mapping[Sequence, tuple[TokenLogprob, ...]]  # of the sequences that asked for them
    pooled: Mapping[Sequence, Pooled | None]  # of those that asked for that

    def results(self) -> list[StepResult]:
        """One for each entry of the plan, in its order; waits for the device."""
        chosen = {} if self.chosen is None else self.chosen.results()
        results = [chosen.get(scheduled.sequence, NOTHING_CHOSEN) for scheduled in self.plan]
        if not self.prompt_logprobs and not self.pooled:
            return results
        return [
            result._replace(
                prompt_logprobs=self.prompt_logprobs.get(scheduled.sequence, ()),
                pooled=self.pooled.get(scheduled.sequence),
            )
            for result, scheduled in zip(results, self.plan, strict=True)
        ]
