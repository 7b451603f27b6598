"""How long one rendering of the metrics takes, and so holds up whatever else the event loop has to do."""

from __future__ import annotations

import statistics
import time

from loraplex_server.engine.messages import AdapterStats, EngineStats, Steps
from loraplex_server.metrics import Metrics

REPEATS = 100
NEWS = 5  # requests that end in the quarter of a second between two renderings
TOKENS = 50  # of each


class Rendering:
    """Args: count: of adapters and of tenants."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._metrics = Metrics("demo", count, count)
        self._resident = tuple(f"adapter-{number:03}" for number in range(count))

    def times(self) -> dict[str, tuple[float, float]]:
        """Milliseconds of this thread's processor time, the median and the most, by what was new."""
        self._timed(self._count)  # so that all have their series
        found = {}
        for name, ended in (("nothing", 0), (f"{NEWS} requests", NEWS), (f"{self._count} requests", self._count)):
            taken = [self._timed(ended) for _ in range(REPEATS)]
            found[name] = (statistics.median(taken), max(taken))
        return found

    def _timed(self, ended: int) -> float:
        for number in range(ended):
            self._end(number)
        # Each word of the engine makes the text anew.
        stats = EngineStats(
            adapters=AdapterStats(resident=self._resident), steps=Steps(tokens=[9], sequences=[3], adapters=[2])
        )
        began = time.thread_time()
        self._metrics.render(None, stats)
        return (time.thread_time() - began) * 1e3

    def _end(self, number: int) -> None:
        requests, tenants = self._metrics.requests, self._metrics.tenants
        adapter, tenant = self._resident[number], f"tenant-{number:03}"
        for outcome in ("stop", "length", "cancelled"):
            requests.adapter_request((adapter,), outcome, 10, TOKENS)
        for outcome in ("ok", "error", "cancelled"):
            tenants.ended(tenant, outcome)
        tenants.used(tenant, 10, 5, TOKENS)
        for _ in range(TOKENS):
            requests.inter_token.observe(0.02)
        for histogram in (requests.time_to_first_token, requests.e2e, requests.queue):
            histogram.observe(0.5)
