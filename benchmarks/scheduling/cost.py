"""How long a step takes, from what is in it."""

from __future__ import annotations

import time
from collections.abc import Sequence as Seq
from dataclasses import astuple, dataclass

import numpy as np

from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.messages import GenerateRequest, SamplingParams

# What is timed to find the four figures: sequences that decode at once, and prompts computed whole.
DECODING = (1, 8, 32)
PROMPTS = (64, 128, 256, 512, 1024)
CONTEXT = 128
STEPS = 6


@dataclass(frozen=True)
class Content:
    """What is in a step.

    Attributes:
        tokens: computed, of all sequences.
        pairs: of a computed token and one before it that it attends to.
        choices: rows whose next token is chosen.
    """

    tokens: int
    pairs: float
    choices: int


@dataclass(frozen=True)
class Cost:
    """Seconds of a step: of any, and more for each of what is in it."""

    step: float
    token: float
    pair: float
    choice: float

    def of(self, content: Content) -> float:
        """Seconds of a step with this in it."""
        return self.step + self.token * content.tokens + self.pair * content.pairs + self.choice * content.choices


def content_of(shares: Seq[tuple[int, int, bool]]) -> Content:
    """Of a step.

    Args:
        shares: of each sequence: the position of the first token, how many, whether the next is chosen.
    """
    tokens = sum(count for _, count, _ in shares)
    pairs = sum(count * (start + (count + 1) / 2) for start, count, _ in shares)
    return Content(tokens, pairs, sum(samples for _, _, samples in shares))


def fit(timed: Seq[tuple[Content, float]]) -> Cost:
    """The figures that come nearest to what was timed, in shares of each time; none is negative."""
    rows = np.array([[1.0, *map(float, astuple(content))] for content, _ in timed])
    seconds = np.array([found for _, found in timed])
    kept = [0, 1, 2, 3]
    while True:
        scaled = rows[:, kept] / seconds[:, None]
        found, *_ = np.linalg.lstsq(scaled, np.ones(len(seconds)), rcond=None)
        if (found >= 0).all():
            break
        kept.pop(int(found.argmin()))
    figures = [0.0] * 4
    for place, value in zip(kept, found.tolist(), strict=True):
        figures[place] = value
    return Cost(*figures)


def calibrate(core: EngineCore) -> list[tuple[Content, float]]:
    """Time steps of decoding and of prefill on a real engine; the least of several."""
    timed = []
    for rows in DECODING:
        for row in range(rows):
            _submit(core, f"decode-{rows}-{row}", CONTEXT, STEPS + 2)
        while any(sequence.num_output == 0 for request in core.requests.values() for sequence in request.sequences):
            core.step()
        seconds = min(_seconds(core) for _ in range(STEPS))
        timed.append((content_of([(CONTEXT + STEPS // 2, 1, True)] * rows), seconds))
        while core.has_work:
            core.step()
    for tokens in PROMPTS:
        seconds = min(_prefill(core, tokens, turn) for turn in range(2))
        timed.append((content_of([(0, tokens, True)]), seconds))
    return timed


def _prefill(core: EngineCore, tokens: int, turn: int) -> float:
    _submit(core, f"prefill-{tokens}-{turn}", tokens, 1)
    return _seconds(core)


def _submit(core: EngineCore, name: str, tokens: int, output: int) -> None:
    sampling = SamplingParams(max_tokens=output, temperature=0.0)
    core.submit(GenerateRequest(request_id=name, prompt_token_ids=[1000 + len(name)] * tokens, sampling=sampling))


def _seconds(core: EngineCore) -> float:
    start = time.perf_counter()
    core.step()
    return time.perf_counter() - start
