"""How long somebody has said nothing, told by looks and not by the clock.

While the process that looks stands still too, as in a container that is paused, nobody is silent.
"""

from __future__ import annotations


class Silence:
    """Of one process. Args: heard: messages of it so far."""

    def __init__(self, heard: int) -> None:
        self._heard = heard
        self._looks = 0

    def look(self, heard: int) -> int:
        """Once a while. Args: heard: messages by now. Returns: looks in a row between which there was none."""
        self._looks = self._looks + 1 if heard == self._heard else 0
        self._heard = heard
        return self._looks
