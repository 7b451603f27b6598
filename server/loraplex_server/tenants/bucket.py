"""A token bucket: so much a minute, and no more than that at once."""

from __future__ import annotations


class Bucket:
    """Full at first; filled up evenly, to what a minute brings.

    Times are of one clock that never goes back, in seconds.

    Args:
        per_minute: what a minute brings, and what it holds. now: the time.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self.capacity = per_minute
        self._level = float(per_minute)
        self._at = now

    def resize(self, per_minute: int, now: float) -> None:
        """Another limit from now on: a larger one brings its difference at once."""
        if per_minute != self.capacity:
            level = self.level(now) + max(per_minute - self.capacity, 0)
            self._level, self.capacity = min(level, float(per_minute)), per_minute

    def level(self, now: float) -> float:
        """What is in it; below zero while more was used than had been set aside."""
        self._level = min(self._level + (now - self._at) * self.capacity / 60, float(self.capacity))
        self._at = now
        return self._level

    def take(self, amount: int, now: float) -> float:
        """Take all of it or nothing: seconds until there is enough, 0 where it was taken."""
        missing = amount - self.level(now)
        # What is missing by no more than rounding is there.
        if missing > 1e-9 * max(self.capacity, 1):
            return missing * 60 / self.capacity
        self._level -= amount
        return 0.0

    def give(self, amount: int, now: float) -> None:
        """Put back what was not used; below zero: take what was used beyond."""
        self._level = min(self.level(now) + amount, float(self.capacity))

    def seconds_to_full(self, now: float) -> float:
        """Until it is full, if nothing is taken."""
        return (self.capacity - self.level(now)) * 60 / self.capacity
