"""What left the device and is kept in host memory, under a budget of its own. Plain Python.

It holds what the device does not: an adapter is in one of the two. So on a CPU, where both are the same memory, an
adapter moves between them without being copied, and their budgets add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from loraplex_adapters.policy import Policy
from loraplex_adapters.residents import K

V = TypeVar("V")


class HostTier(Generic[K, V]):
    """Values by key, each with its size.

    Args:
        budget: bytes, for all of them; 0: nothing is kept.
        policy: who leaves when there is no room, which may be the one that came.
    """

    def __init__(self, budget: int, policy: Policy[K]) -> None:
        self.budget = budget
        self.used = 0
        self.evictions = 0
        self._policy = policy
        self._held: dict[K, tuple[V, int]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: K) -> bool:
        return key in self._held

    def items(self) -> Iterator[tuple[K, V]]:
        """All that it holds, as a copy."""
        return iter([(key, value) for key, (value, _) in self._held.items()])

    def nbytes(self, key: K) -> int | None:
        """Size of what it holds under a key; None: nothing."""
        held = self._held.get(key)
        return None if held is None else held[1]

    def victims(self, key: K, nbytes: int) -> list[K] | None:
        """What would have to leave for a newcomer; None: it is not worth that."""
        if nbytes > self.budget:
            return None
        least, leaving, room = self._policy.worth(key, nbytes), [], self.budget - self.used
        for other in sorted(self._held, key=lambda held: self._policy.worth(held, self._held[held][1])):
            if room >= nbytes:
                break
            if self._policy.worth(other, self._held[other][1]) >= least:
                return None
            leaving.append(other)
            room += self._held[other][1]
        return leaving

    def put(self, key: K, value: V, nbytes: int) -> list[V]:
        """Take something in, if it is worth the room.

        Returns:
            What is held no longer: what made room for it, or the value itself.
        """
        if key in self._held:
            raise ValueError(f"{key!r} is held already")
        leaving = self.victims(key, nbytes)
        if leaving is None:
            return [value]
        left = [self.take(other) for other in leaving]
        self.evictions += len(left)
        self._held[key] = value, nbytes
        self.used += nbytes
        return left

    def take(self, key: K) -> V:
        """Take something out.

        Raises:
            KeyError: it is not there.
        """
        value, nbytes = self._held.pop(key)
        self.used -= nbytes
        return value

    def clear(self) -> None:
        """Take everything out."""
        self._held.clear()
        self.used = 0

    def check_integrity(self) -> None:
        """Raises RuntimeError where bytes disagree."""
        held = sum(nbytes for _, nbytes in self._held.values())
        if held != self.used or self.used > self.budget:
            raise RuntimeError(f"the host tier holds {held} bytes, counts {self.used}, and may hold {self.budget}")
