"""What one request's answer did, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from loraplex_server.bench.load.workload import Planned


@dataclass
class Trace:
    """Times are seconds of `time.perf_counter`.

    Attributes:
        planned: the request.
        start: when its time began to count: as it was sent, or, in an open loop, when it was due.
        sent: when it was sent.
        times: when each event that carries tokens arrived.
        counts: the tokens of each such event.
        finished: when the answer was whole; None while it is not.
        error: the kind of failure, None where there is none.
        detail: what the server, or the network, said about it.
        prompt_tokens: by the server's usage; None where it sent none.
        output_tokens: the same.
    """

    planned: Planned
    start: float
    sent: float
    times: list[float] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)
    finished: float | None = None
    error: str | None = None
    detail: str = ""
    prompt_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the whole answer came."""
        return self.error is None and self.finished is not None

    @property
    def tokens(self) -> float:
        """Tokens of the answer: by the server's usage, or else as many as events brought."""
        return sum(self.counts) if self.output_tokens is None else self.output_tokens

    @property
    def ttft(self) -> float:
        """Seconds from start to first token."""
        return self.times[0] - self.start

    @property
    def gaps(self) -> list[float]:
        """Seconds between one event with tokens and the next."""
        return [after - before for before, after in pairwise(self.times)]

    @property
    def tpot(self) -> float | None:
        """Mean seconds a token after the first; None where there is no other, be it only by the server's word."""
        several = len(self.times) > 1 and self.tokens > 1
        return (self.times[-1] - self.times[0]) / (self.tokens - 1) if several else None

    @property
    def e2e(self) -> float | None:
        """Seconds from start to the end of the answer."""
        return None if self.finished is None else self.finished - self.start
