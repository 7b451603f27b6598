"""Whether the engine gives the same bits twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gpu.cores import drain, load, step, submit
from loraplex_adapters.source import AdapterSource
from loraplex_server.engine.core import EngineCore

Answers = dict[str, list[tuple[int, float]]]  # tokens, and the logprob of each


@dataclass(frozen=True)
class Twice:
    """One batch in the same composition, computed twice."""

    rows: int
    same_tokens: int  # rows whose tokens are all the same
    same_logprobs: int  # rows whose logprobs are, to the last bit
    largest: float  # difference of a logprob, of tokens before the first that differs

    @property
    def same(self) -> bool:
        """To the last bit."""
        return self.same_tokens == self.same_logprobs == self.rows

    def __str__(self) -> str:
        if self.same:
            return "the same bits"
        unlike = (self.rows - self.same_tokens, self.rows - self.same_logprobs)
        return f"other tokens in {unlike[0]} rows, other logprobs in {unlike[1]}, by {self.largest:.2g} at most"


def same_twice(core: EngineCore, context: int, adapters: Sequence[AdapterSource | None], tokens: int) -> Twice:
    """Compute prompts and answers of a batch, and once more.

    Args:
        core: with nothing in flight.
        context: tokens of each prompt.
        adapters: of the rows.
        tokens: of each answer.
    """
    load(core, adapters)
    return compared(*(_answers(core, context, adapters, tokens) for _ in range(2)))


def compared(first: Answers, second: Answers) -> Twice:
    """What differs between two runs of the same rows."""
    pairs = [(answer, second[name]) for name, answer in first.items()]
    tokens = sum([token for token, _ in one] == [token for token, _ in other] for one, other in pairs)
    largest = max((_difference(one, other) for one, other in pairs), default=0.0)
    return Twice(len(pairs), tokens, sum(one == other for one, other in pairs), largest)


def _difference(one: Sequence[tuple[int, float]], other: Sequence[tuple[int, float]]) -> float:
    largest = 0.0
    for (token, logprob), (other_token, other_logprob) in zip(one, other, strict=False):
        if token != other_token:
            break
        largest = max(largest, math.fabs(logprob - other_logprob))
    return largest


def _answers(core: EngineCore, context: int, adapters: Sequence[AdapterSource | None], tokens: int) -> Answers:
    for row, adapter in enumerate(adapters):
        submit(core, f"row-{row}", context, tokens, adapter, seed=row, logprobs=0)
    found: Answers = {f"row-{row}": [] for row in range(len(adapters))}
    while core.has_work:
        for delta in step(core):
            scores = [each.logprob for each in delta.logprobs or ()]
            found[delta.request_id] += zip(delta.token_ids, scores, strict=True)
    drain(core)
    return found
