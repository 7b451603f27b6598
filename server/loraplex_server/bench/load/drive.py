"""Sending a run's requests: so many at once, or at their times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from loraplex_server.bench.load.trace import Trace
from loraplex_server.bench.load.workload import Planned

Send = Callable[[Trace], Awaitable[None]]


async def closed_loop(planned: Sequence[Planned], at_once: int, send: Send, traces: list[Trace]) -> None:
    """`at_once` requests in flight, the next sent as soon as one ends. Traces are added as requests start."""
    waiting = iter(planned)

    async def one_after_another() -> None:
        for request in waiting:
            now = time.perf_counter()
            traces.append(Trace(request, start=now, sent=now))
            await send(traces[-1])

    await asyncio.gather(*(one_after_another() for _ in range(at_once)))


async def open_loop(planned: Sequence[Planned], send: Send, traces: list[Trace]) -> None:
    """Each request at its time, however many are in flight.

    A request's time counts from when it was due: were the client late, that would show as latency and not be lost.
    """
    start = time.perf_counter()
    in_flight: list[asyncio.Future[None]] = []
    for request in planned:
        due = start + (request.due or 0.0)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        traces.append(Trace(request, start=due, sent=time.perf_counter()))
        in_flight.append(asyncio.ensure_future(send(traces[-1])))
    await asyncio.gather(*in_flight)
