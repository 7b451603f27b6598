"""One run of a scheduler on a clock that moves by what each step costs."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

from loraplex_server.bench.load.percentiles import Latency, latency
from loraplex_server.engine.messages import SamplingParams
from loraplex_server.engine.scheduler import Scheduler
from loraplex_server.engine.sequence import Sequence
from scheduling.cost import Cost, content_of

TOKEN = 7  # whatever is chosen


@dataclass(frozen=True)
class Arrival:
    """A request: when it comes, its prompt, how many tokens it wants."""

    at: float
    prompt: Seq[int]
    output: int


@dataclass
class Outcome:
    """What became of a run; times in seconds."""

    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    cached: int = 0
    preemptions: int = 0

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds

    @property
    def ttft(self) -> Latency | None:
        """Arrival to first token."""
        return latency(self.first)

    @property
    def itl(self) -> Latency | None:
        """Between tokens of one answer."""
        return latency(self.gaps)


def simulate(arrivals: Seq[Arrival], scheduler: Scheduler, cost: Cost) -> Outcome:
    """Serve all arrivals, in their order.

    Raises:
        RuntimeError: the scheduler computes nothing although somebody waits.
    """
    outcome, clock, coming = Outcome(), 0.0, list(reversed(arrivals))
    last: dict[Sequence, float] = {}
    while coming or scheduler.waiting or scheduler.running:
        if not (scheduler.waiting or scheduler.running):
            clock = max(clock, coming[-1].at)
        while coming and coming[-1].at <= clock:
            sequence = _sequence(coming[-1], len(coming))
            last[sequence] = coming.pop().at
            scheduler.add(sequence)
        plan = scheduler.schedule()
        if not plan:
            raise RuntimeError("sequences wait, and nothing is computed: the cache is too small for one of them")
        clock += cost.of(content_of([(each.start, each.count, each.samples) for each in plan]))
        scheduler.advance(plan)
        for sequence in [each.sequence for each in plan if each.samples]:
            times = outcome.gaps if sequence.num_output else outcome.first
            times.append(clock - last[sequence])
            last[sequence] = clock
            outcome.tokens += 1
            scheduler.land(sequence, TOKEN)
            if sequence.finish_reason is not None:
                scheduler.remove(sequence)
    counts = scheduler.seats.counts
    outcome.seconds, outcome.cached, outcome.preemptions = clock, counts.prefix_hits, counts.preemptions
    return outcome


def _sequence(arrival: Arrival, number: int) -> Sequence:
    sampling = SamplingParams(max_tokens=arrival.output, temperature=0.0)
    return Sequence(str(number), 0, len(arrival.prompt), sampling, 1 << 30, list(arrival.prompt))
