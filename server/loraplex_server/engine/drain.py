"""How fast requests leave, so that a full queue can say when to come back."""

from __future__ import annotations

import math
import time
from collections import deque

WINDOW = 64  # finished requests remembered


class DrainRate:
    """Requests finished a second, over the last few."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=WINDOW)

    def finished(self) -> None:
        """One more left the engine."""
        self._times.append(time.monotonic())

    def seconds_for(self, requests: int) -> int:
        """Whole seconds until that many have left, from 1 to 60; 1 where nothing is known yet."""
        if len(self._times) < 2:
            return 1
        elapsed = max(time.monotonic() - self._times[0], 1e-3)
        return min(max(math.ceil(requests * elapsed / len(self._times)), 1), 60)
