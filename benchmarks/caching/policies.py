"""Policies to compare with the one that is served (loraplex_adapters.policy.Popularity)."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Sequence


class Lru:
    """The least recently used leaves first."""

    def __init__(self) -> None:
        self._time = 0
        self._used: dict[int, int] = {}

    def used(self, key: int) -> None:
        self._time += 1
        self._used[key] = self._time

    def worth(self, key: int, nbytes: int) -> float:
        return self._used.get(key, 0)


class Gdsf:
    """GreedyDual-Size-Frequency: uses since it came times cost per byte, plus an age that each eviction raises.

    Args:
        sizes: of all keys.
        fixed_cost: of a load beside its bytes, in bytes.
    """

    def __init__(self, sizes: Sequence[int], fixed_cost: int) -> None:
        self._sizes, self._fixed_cost = sizes, fixed_cost
        self._age = 0.0
        self._uses: dict[int, int] = {}
        self._worth: dict[int, float] = {}

    def used(self, key: int) -> None:
        self._uses[key] = self._uses.get(key, 0) + 1
        self._worth[key] = self._age + self._uses[key] * (1 + self._fixed_cost / self._sizes[key])

    def worth(self, key: int, nbytes: int) -> float:
        return self._worth.get(key, 0.0)

    def evicted(self, key: int) -> None:
        """Told by the simulation."""
        self._age = max(self._age, self._worth[key])
        del self._uses[key]


class Clairvoyant:
    """Belady's rule with sizes: what is used again last, for its bytes, leaves first. It reads the trace ahead.

    Without sizes it would be the optimum; with them, finding that is NP-hard, and this is only close to it.
    """

    def __init__(self, trace: Sequence[int], fixed_cost: int) -> None:
        self._fixed_cost = fixed_cost
        self.position = 0  # the next request; set by the simulation
        self._uses: dict[int, list[int]] = defaultdict(list)
        for place, key in enumerate(trace):
            self._uses[key].append(place)

    def used(self, key: int) -> None: ...

    def worth(self, key: int, nbytes: int) -> float:
        uses = self._uses[key]
        following = bisect.bisect_left(uses, self.position)
        wait = uses[following] - self.position + 1 if following < len(uses) else float("inf")
        return (1 + self._fixed_cost / nbytes) / wait
