"""How fast the engine computes at its best, from the steps it took."""

from __future__ import annotations

# A step with so many tokens of prompts tells what one takes; others are mostly the step itself.
TELLING_TOKENS = 32
# The best of lately: what was seen is held against new steps, a little slower with each of them.
FORGETTING = 1.01


class Pace:
    """Seconds that work takes at the least. Nothing is known before the first steps: all looks possible then."""

    def __init__(self) -> None:
        self._token_s = 0.0
        self._step_s = 0.0

    def observe(self, tokens: int, prompt_tokens: int, seconds: float) -> None:
        """A step of so many tokens, so many of them of prompts, took so long."""
        self._step_s = _best(self._step_s, seconds)
        if prompt_tokens >= TELLING_TOKENS:
            self._token_s = _best(self._token_s, seconds / tokens)

    def least(self, prompt_tokens: int, output_tokens: int) -> float:
        """For so many tokens of an answer, one in any case, behind a prompt of which so many are to be computed."""
        steps = max(output_tokens - 1, 0)
        return max(prompt_tokens * self._token_s, self._step_s) + steps * self._step_s


def _best(known: float, seen: float) -> float:
    return min(known * FORGETTING, seen) if known else seen
