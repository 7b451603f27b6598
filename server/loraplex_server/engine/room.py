"""How many answers may be asked for at once, by all and by each tenant."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from loraplex_server.engine.drain import DrainRate
from loraplex_server.engine.interface import InvalidRequestError, QueueFullError
from loraplex_server.engine.messages import GenerateRequest


def queue_of(tenant: str, queue: int, per_tenant: int | None) -> int:
    """How many answers a tenant may let wait while there are no others; "" is one without a name.

    Args:
        tenant: that asks. queue: answers that may wait. per_tenant: of those, one tenant's; None: see Room.
    """
    if not tenant:
        return queue
    return queue // 2 if per_tenant is None else min(per_tenant, queue)


@dataclass
class _Inside:
    drain: DrainRate
    answers: int = 0


class Room:
    """Seats, and a queue behind them.

    A tenant that has a name may queue as many answers as `per_tenant` says. Without that, as many as it leaves for
    others: alone it gets half of the queue, and one that comes later always finds some of it.

    Args:
        seats: answers computed at once.
        queue: answers that may wait.
        per_tenant: of those, one tenant's.
        clock: seconds.
    """

    def __init__(
        self, seats: int, queue: int, per_tenant: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seats = seats
        self._queue = queue
        self._per_tenant = per_tenant
        self._clock = clock
        self._all = _Inside(DrainRate(clock))
        self._tenants: dict[str, _Inside] = {}

    def enter(self, request: GenerateRequest) -> None:
        """Take places for all of a request's answers; each `enter` that went well needs one `leave`.

        Raises:
            InvalidRequestError: there will never be so many.
            QueueFullError: there are not so many now; says when there may be.
        """
        self._check(request)
        tenant = self._tenants.setdefault(request.share.tenant, _Inside(DrainRate(self._clock)))
        for inside in (self._all, tenant):
            inside.answers += request.n
            inside.drain.came(request.n)

    def leave(self, request: GenerateRequest) -> None:
        """The request ended, however it did."""
        tenant = self._tenants[request.share.tenant]
        for inside in (self._all, tenant):
            inside.answers -= request.n
            inside.drain.left(request.n)
        if not tenant.answers:
            del self._tenants[request.share.tenant]

    def _check(self, request: GenerateRequest) -> None:
        n, most = request.n, self._seats + queue_of(request.share.tenant, self._queue, self._per_tenant)
        if n > most:
            raise InvalidRequestError(f"{n} answers were asked for at once; this server takes {most} at the most")
        left = self._seats + self._queue - self._all.answers - n
        if left < 0:
            waiting = max(self._all.answers - self._seats, 0)
            raise QueueFullError(
                f"the queue is full: {waiting} answers wait already", retry_after=self._all.drain.seconds_for(-left)
            )
        tenant = self._tenants.get(request.share.tenant)
        if tenant is None or not request.share.tenant:
            return
        queued = tenant.answers + n - self._seats
        short = queued - (left if self._per_tenant is None else self._per_tenant)
        if queued > 0 and short > 0:
            raise QueueFullError(
                f"the tenant's part of the queue is full: {tenant.answers} of its answers are asked for already",
                retry_after=tenant.drain.seconds_for(short),
            )
