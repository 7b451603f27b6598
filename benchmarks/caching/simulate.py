"""A trace through the real residency and host tier, without a model: loads take no time, requests do."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caching.policies import Clairvoyant, Gdsf
from loraplex_adapters.host_tier import HostTier
from loraplex_adapters.policy import Policy
from loraplex_adapters.residency import Residency
from loraplex_adapters.residents import Claim


@dataclass(frozen=True)
class Outcome:
    """Attributes: hits: share of requests that found their adapter in memory. host_hits: that found it on the host.
    moved: bytes read from disk. lifted: bytes from the host to the device."""

    hits: float
    host_hits: float
    moved: int
    lifted: int


class Simulation:
    """A closed loop: `concurrent` requests at once, the next of the trace as soon as one ends.

    Args:
        trace: index of the adapter of each request.
        sizes: bytes of each adapter.
        budget, host_budget: bytes of the two tiers.
        policy: of both.
        concurrent: requests at once, each of which holds a lease for an exponential time of mean 1.
        seed: of these times.
    """

    def __init__(
        self,
        trace: Sequence[int],
        sizes: Sequence[int],
        budget: int,
        host_budget: int,
        policy: Policy[int],
        concurrent: int,
        seed: int,
    ) -> None:
        self._trace, self._sizes, self._policy = trace, sizes, policy
        self._residency: Residency[int] = Residency(budget, policy)
        self._host: HostTier[int, None] = HostTier(host_budget, policy)
        self._concurrent = concurrent
        self._lasts = np.random.default_rng(seed).exponential(size=len(trace))
        self._now = 0.0
        self._ends: list[tuple[float, int, Claim[int]]] = []  # a heap of the requests that run
        self._waiting: deque[tuple[int, Claim[int]]] = deque()
        self._host_hits = self._moved = self._lifted = 0

    def run(self) -> Outcome:
        """All of the trace."""
        following = iter(enumerate(self._trace))
        for place, key in itertools.islice(following, self._concurrent):
            self._ask(place, key)
        while self._ends:
            self._now, _, claim = heapq.heappop(self._ends)
            self._residency.release(claim, claim.keys[0])
            self._settle()
            for place, key in itertools.islice(following, 1):
                self._ask(place, key)
        if self._waiting:
            raise RuntimeError(f"{len(self._waiting)} requests wait for ever")
        self._residency.check_integrity()
        self._host.check_integrity()
        count = len(self._trace)
        return Outcome(self._residency.hits / count, self._host_hits / count, self._moved, self._lifted)

    def _ask(self, place: int, key: int) -> None:
        if isinstance(self._policy, Clairvoyant):
            self._policy.position = place + 1
        claim, unknown = self._residency.claim([key])
        self._host_hits += key in self._host
        for each in unknown:
            self._residency.sized(each, self._sizes[each])
        self._waiting.append((place, claim))
        self._settle()

    def _settle(self) -> None:
        plan = self._residency.advance()
        lifted = self._take(plan.load)
        for key in plan.evict:
            if isinstance(self._policy, Gdsf):
                self._policy.evicted(key)
            self._host.put(key, None, self._sizes[key])
        lifted += self._take(plan.load)  # what was evicted and is loaded again in one plan
        for key in plan.load:
            self._lifted += self._sizes[key] * (key in lifted)
            self._moved += self._sizes[key] * (key not in lifted)
            self._residency.loaded(key, self._sizes[key])
        ready = [each for each in self._waiting if self._residency.ready(each[1])]
        for place, claim in ready:
            self._waiting.remove((place, claim))
            heapq.heappush(self._ends, (self._now + float(self._lasts[place]), place, claim))

    def _take(self, keys: Sequence[int]) -> list[int]:
        """Those of the keys that the host tier has, taken out."""
        found = [key for key in keys if key in self._host]
        for key in found:
            self._host.take(key)
        return found
