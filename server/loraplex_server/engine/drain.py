"""How fast answers leave, so that a full queue can say when to come back."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

WINDOW = 64  # of the last that left
# Longer, and OpenAI's clients give up instead of waiting.
LONGEST_S = 60


class DrainRate:
    """Answers that left a second, while there were any to leave.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._since = 0.0
        self._inside = 0
        self._rate: float | None = None  # of the busy time before this one

    def came(self, answers: int) -> None:
        """So many more are asked for. Time in which there were none says nothing of how fast they leave."""
        if not self._inside:
            self._rate = self._measured() or self._rate
            self._left.clear()
            self._since = self._clock()
        self._inside += answers

    def left(self, answers: int) -> None:
        """So many ended."""
        self._inside -= answers
        if len(self._left) == WINDOW:
            self._since = self._left[0][0]  # it drops out of the window now
        self._left.append((self._clock(), answers))

    def seconds_for(self, answers: int) -> int:
        """Whole seconds until so many have left, from 1 to 60; 1 where nothing is known yet."""
        rate = self._measured() or self._rate
        return 1 if rate is None else min(max(math.ceil(answers / rate), 1), LONGEST_S)

    def _measured(self) -> float | None:
        if not self._left:
            return None
        until = self._clock() if self._inside else self._left[-1][0]
        return sum(answers for _, answers in self._left) / max(until - self._since, 1e-3)
