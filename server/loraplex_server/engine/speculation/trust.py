"""How likely it is that what is proposed comes true."""

from __future__ import annotations

from collections.abc import Callable


class Trust:
    """The chance that a draft token is accepted, given that those before it were: by the length of the match.

    Args:
        start: what is thought where nothing is known; what is known comes back to it as it grows old.
        pace: how much one token moves the estimate, 0 to 1.
        recovery: how much of the way back goes by whenever it was not worth asking, 0 to 1.
    """

    def __init__(self, start: Callable[[int], float], pace: float, recovery: float) -> None:
        self._start = start
        self._pace = pace
        self._recovery = recovery
        self._learnt: dict[int, float] = {}

    def of(self, length: int) -> float:
        """In what follows a match of so many tokens."""
        learnt = self._learnt.get(length)
        return self._start(length) if learnt is None else learnt

    def learn(self, length: int, drafted: int, accepted: int) -> None:
        """Take in a draft. Of its tokens that were not accepted only the first was ever judged."""
        trust = 1 - (1 - self.of(length)) * (1 - self._pace) ** accepted
        self._learnt[length] = trust if accepted == drafted else trust * (1 - self._pace)

    def rest(self, length: int) -> None:
        """It was not worth asking."""
        trust = self.of(length)
        self._learnt[length] = trust + (self._start(length) - trust) * self._recovery


def prior() -> Trust:
    """Of all sequences of an engine: where each begins.

    It begins high, since only asking tells, and what it was taught fades: traffic changes.
    """
    return Trust(lambda _: 0.95, pace=0.02, recovery=0.0005)


def beginning_with(start: Trust) -> Trust:
    """Of one sequence: it forgets in a dozen tokens, and is asked again after some more, for it may begin to copy."""
    return Trust(start.of, pace=0.12, recovery=0.01)
