"""A step on its way: launched, its results not looked at yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from loraplex_server.engine.choice import Choosing
from loraplex_server.engine.messages import TokenLogprob
from loraplex_server.engine.scheduler import Scheduled
from loraplex_server.engine.sequence import Sequence


class StepResult(NamedTuple):
    """What a step gave one scheduled sequence."""

    token: int | None = None  # the next token; None where the prompt is not wholly computed, or none was asked for
    logprob: TokenLogprob | None = None
    prompt_logprobs: tuple[TokenLogprob, ...] = ()  # of the prompt tokens from `num_scored` on, as far as computed
    finite: bool = True  # False: the model gave NaN or infinity, and the sequence cannot go on


NOTHING_CHOSEN = StepResult()


@dataclass(frozen=True)
class Chosen:
    """The tokens that a step chose, first on the device and later here."""

    rows: Mapping[Sequence, int]  # of the sequences that a token was chosen for, in order
    tokens: Tensor  # int64 [R], on the device
    choosing: Choosing  # the same on its way to the host

    def results(self) -> dict[Sequence, StepResult]:
        """By sequence; waits for the device."""
        return {
            sequence: StepResult(
                token=None if sequence.sampling.max_tokens == 0 else choice.token,
                logprob=choice.logprob,
                finite=choice.token is not None,
            )
            for sequence, choice in zip(self.rows, self.choosing.finish(), strict=True)
        }


@dataclass(frozen=True)
class Flight:
    """Of one plan."""

    plan: list[Scheduled]
    chosen: Chosen | None  # None where no sequence reached its last token
    prompt_logprobs: Mapping[Sequence, tuple[TokenLogprob, ...]]  # of the sequences that asked for them

    def results(self) -> list[StepResult]:
        """One for each entry of the plan, in its order; waits for the device."""
        chosen = {} if self.chosen is None else self.chosen.results()
        results = [chosen.get(scheduled.sequence, NOTHING_CHOSEN) for scheduled in self.plan]
        if not self.prompt_logprobs:
            return results
        return [
            result._replace(prompt_logprobs=self.prompt_logprobs.get(scheduled.sequence, ()))
            for result, scheduled in zip(results, self.plan, strict=True)
        ]
