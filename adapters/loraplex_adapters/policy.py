"""What is worth keeping: how often it was used of late, and what it costs to bring back. Plain Python.

Worth is uses (each counting half as much after HALF_LIFE later ones) times the cost of a load per byte held. Uses are
remembered of what has left, too: without that, each return starts anew and what is used often, but not often enough to
stay between two uses, never stays. Measured against LRU and others by benchmarks/adapter_cache.py.

Sources: LRFU (Lee et al., IEEE Trans. Computers 2001) for uses that fade; GreedyDual-Size-Frequency (Cherkasova, HP
Labs TR 1998-69) for cost per byte; TinyLFU (Einziger et al., ACM ToS 2017) for remembering what has left.
"""

from __future__ import annotations

import math
from typing import Generic, Protocol, TypeVar

K = TypeVar("K")
K_contra = TypeVar("K_contra", contravariant=True)

# In uses of any adapter. Shorter forgets what is popular, longer clings to what was.
HALF_LIFE = 500
# What a load costs beside its bytes, in bytes: files to open, names to bind, a place in the queue of loads. The more,
# the more requests find their (small) adapter in memory; the less, the fewer bytes move.
FIXED_COST = 4 << 20
MOST_REMEMBERED = 4096


class Policy(Protocol[K_contra]):
    """An order of leaving."""

    def used(self, key: K_contra) -> None:
        """A claim on it was granted."""
        ...

    def worth(self, key: K_contra, nbytes: int) -> float:
        """Of two, the one that is worth less leaves first. Comparable between keys, until the next use of any."""
        ...


class Popularity(Generic[K]):
    """The policy that is served.

    Args:
        half_life: uses after which a use counts half.
        fixed_cost: of a load, in bytes.
    """

    def __init__(self, half_life: float = HALF_LIFE, fixed_cost: int = FIXED_COST) -> None:
        self._half_life = half_life
        self._fixed_cost = fixed_cost
        self._uses = 0
        # log2 of the sum of 2 ** (time of use / half-life): all fade alike, so the order changes with uses only, and
        # nothing has to be counted down.
        self._levels: dict[K, float] = {}

    def used(self, key: K) -> None:
        """See Policy.used."""
        self._uses += 1
        now = self._uses / self._half_life
        level = self._levels.get(key)
        self._levels[key] = now if level is None else now + math.log2(1 + 2 ** (level - now))
        if len(self._levels) > 2 * MOST_REMEMBERED:
            best = sorted(self._levels.items(), key=lambda item: item[1])[MOST_REMEMBERED:]
            self._levels = dict(best)

    def worth(self, key: K, nbytes: int) -> float:
        """See Policy.worth; log2 of uses times bytes to pay for each byte held."""
        return self._levels.get(key, -math.inf) + math.log2(1 + self._fixed_cost / max(nbytes, 1))
