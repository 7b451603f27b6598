"""Log probabilities of the tokens of a prompt, where a request wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from loraplex_server.engine.adapter_rows import Stretch
from loraplex_server.engine.logprobs import token_logprobs
from loraplex_server.engine.messages import TokenLogprob
from loraplex_server.engine.scheduler import Scheduled

# Prompt positions scored at once. Each is a row of logits, half a megabyte in a vocabulary of 150,000.
SCORED_ROWS = 32


def score_prompt(
    scheduled: Scheduled,
    hidden: Tensor,
    logits_of: Callable[[Tensor, Sequence[Stretch]], Tensor],
) -> tuple[TokenLogprob, ...]:
    """Logprobs of the prompt tokens that follow the computed positions, those already delivered left out.

    Args:
        scheduled: the sequence's share of the step.
        hidden: `[count, H]`, what the model gave for it.
        logits_of: the model's output layer.
    """
    sequence, start = scheduled.sequence, scheduled.start
    end = min(scheduled.end, sequence.prompt_len - 1)
    scored: list[TokenLogprob] = []
    for first in range(max(start, sequence.virtual + sequence.num_scored), end, SCORED_ROWS):
        last = min(first + SCORED_ROWS, end)
        stretch = Stretch(sequence.adapters, first, last - first)
        logits = logits_of(hidden[first - start : last - start], [stretch])[:, : sequence.vocab]
        following = sequence.tokens[first + 1 : last + 1]
        scored += token_logprobs(logits, following, sequence.sampling.prompt_logprobs or 0)
    return tuple(scored)
