"""Which requests have no time left, or not enough to begin with."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from loraplex_server.engine.pace import Pace
from loraplex_server.engine.request import Request
from loraplex_server.engine.sequence import Sequence

FEW = 64  # looks at what has ended that are not worth sweeping


@dataclass(order=True)
class _Look:
    at: float
    number: int
    request: Request | None = field(compare=False)  # None once it ended


class Overdue(NamedTuple):
    """A request that ends, and what is said of it where it has no answer yet."""

    request: Request
    reason: str


class Deadlines:
    """Looks at each request when its time is over, and before it began, at the last moment at which it could begin.

    Args:
        pace: of the engine.
        to_compute: tokens of a prompt that are not in the prefix cache.
    """

    def __init__(self, pace: Pace, to_compute: Callable[[Sequence], int]) -> None:
        self._pace = pace
        self._to_compute = to_compute
        self._heap: list[_Look] = []
        self._looks: dict[Request, _Look] = {}  # the next one of each request
        self._numbers = itertools.count()
        self.ended = 0  # requests, for want of time

    def add(self, request: Request) -> None:
        """Look at it at once, and whenever something is to be decided."""
        if request.deadline is not None:
            self._look_at(request, request.arrival)

    def forget(self, request: Request) -> None:
        """It ended, perhaps long before its deadline: nothing of it stays."""
        look = self._looks.pop(request, None)
        if look is not None:
            look.request = None
        if len(self._heap) > 2 * len(self._looks) + FEW:
            self._heap = [look for look in self._heap if look.request is not None]
            heapq.heapify(self._heap)

    def due(self, now: float) -> list[Overdue]:
        """Of the requests in flight, those that end now for want of time."""
        over = []
        while self._heap and self._heap[0].at <= now:
            request = heapq.heappop(self._heap).request
            if request is None or request.deadline is None:
                continue
            del self._looks[request]
            allowed = request.deadline - request.arrival
            if now >= request.deadline:
                over.append(Overdue(request, f"the request's {allowed:.3g} s were over before its first token"))
            elif request.begun:
                self._look_at(request, request.deadline)
            elif now + (least := self.least(request)) > request.deadline:
                left = request.deadline - now
                reason = f"the request takes {least:.3g} s at the least, and has {left:.3g} s left: it was not begun"
                over.append(Overdue(request, reason))
            else:
                self._look_at(request, max(request.deadline - least, now + least / 8))
        self.ended += len(over)
        return over

    def least(self, request: Request) -> float:
        """Seconds that the request takes when it is all that is done, and its answer is as short as it may be."""
        first = request.sequences[0]
        # Adapters that still load: what they have in the cache is not known.
        prompt = self._to_compute(first) if request.bound else 0
        return self._pace.least(prompt, first.sampling.min_tokens)

    def _look_at(self, request: Request, at: float) -> None:
        look = self._looks[request] = _Look(at, next(self._numbers), request)
        heapq.heappush(self._heap, look)
