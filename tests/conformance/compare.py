"""Ours against PEFT's: log probabilities of one prompt and its answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from peft import PeftModel
from support.engines import Output
from transformers import PreTrainedModel

from conformance.case import Case
from conformance.oracle import score, score_generated


def difference(case: Case, peft: PeftModel, prompt: Sequence[int], ours: Output, again: Output) -> float:
    """The largest one of any log probability; infinite where PEFT would choose other tokens.

    Args:
        case: says what the oracle needs.
        peft: the oracle.
        prompt: token ids.
        ours: our answer, with the log probabilities of the prompt.
        again: the same once more, from the prefix cache.
    """
    assert again.failure is None, again.failure
    scored = of_prompt(ours)
    tokens = [*prompt, *ours.tokens]
    expected = score_generated(peft, prompt, ours.tokens) if case.generates else score(peft, tokens, case.task)
    if expected.tokens != tokens or again.tokens != ours.tokens:
        return math.inf
    chosen, count = expected.chosen.tolist(), len(ours.tokens)
    # Greedy: no token is likelier than the one that was chosen.
    regret = float((expected.rows[-count:].amax(-1) - expected.chosen[-count:]).max())
    return max(farthest([*scored, *ours.logprobs], chosen), farthest(again.logprobs, chosen[-count:]), regret)


def effect(case: Case, peft: PeftModel, base: PreTrainedModel, prompt: Sequence[int]) -> float:
    """How far the adapter moves any log probability after any token of a prompt."""
    tokens = [*prompt, 0]
    return float((score(peft, tokens, case.task).rows - score(base, tokens).rows).abs().max())


def of_prompt(ours: Output) -> list[float]:
    """The log probabilities of a prompt's tokens but the first."""
    assert ours.failure is None, ours.failure
    assert ours.started is not None
    assert ours.started.prompt_logprobs is not None
    return [each.logprob for each in ours.started.prompt_logprobs[1:] if each is not None]


def farthest(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest difference of two lists of the same length."""
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
