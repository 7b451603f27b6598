"""Which adapters must stay in memory, by the names that they were pinned under. Plain Python."""

from __future__ import annotations

from fractions import Fraction
from typing import Generic

from loraplex_adapters.residency import Residency
from loraplex_adapters.residents import K

# Of the budget: what all others share, in turns, however much is pinned.
UNPINNED_SHARE = Fraction(1, 4)


class Pins(Generic[K]):
    """A name pins one adapter at a time; two names may pin the same one.

    Args:
        residency: that keeps what is pinned.
    """

    def __init__(self, residency: Residency[K]) -> None:
        self._residency = residency
        self._keys: dict[str, K] = {}

    def holds(self, key: K) -> bool:
        """Whether any name pins it."""
        return key in self._keys.values()

    def problem(self, name: str, key: K) -> str | None:
        """Why a resident key cannot be pinned under a name, with the figures; None: it can."""
        residency = self._residency
        pinned = {key, *(held for other, held in self._keys.items() if other != name)}
        total = sum(residency.nbytes(each) for each in pinned)
        left, share = residency.budget - total, -int(-residency.budget * UNPINNED_SHARE // 1)
        least = max(share, residency.largest_need(pinned))
        if left >= least or self._keys.get(name) == key:
            return None
        return (
            f"pinned adapters would take {total} of the {residency.budget} bytes for adapters, and {least} must stay "
            "for others; unpin one, or give --adapter-memory more"
        )

    def move(self, name: str, key: K) -> K | None:
        """Pin a resident key under a name, instead of what the name pinned before, which is returned."""
        old = self._keys.get(name)
        if old == key:
            return None
        self._residency.pin(key)
        self._keys[name] = key
        return self._unpin(old)

    def remove(self, name: str) -> K | None:
        """Take a name's pin away. Returns what it pinned."""
        return self._unpin(self._keys.pop(name, None))

    def check_integrity(self) -> None:
        """Raises RuntimeError where the residency pins something else."""
        counts = {key: list(self._keys.values()).count(key) for key in self._keys.values()}
        if counts != self._residency.pinned:
            raise RuntimeError(f"names pin {counts}, the residency {self._residency.pinned}")

    def _unpin(self, key: K | None) -> K | None:
        if key is not None:
            self._residency.unpin(key)
        return key
