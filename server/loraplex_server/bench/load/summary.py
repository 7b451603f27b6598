"""One run in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loraplex_server.bench.load.options import LoadOptions, Slo
from loraplex_server.bench.load.percentiles import Latency, latency
from loraplex_server.bench.load.steady import steady_rate
from loraplex_server.bench.load.trace import Trace


@dataclass(frozen=True)
class Times:
    """How long requests waited; None where no request has such a time."""

    ttft_ms: Latency | None
    """Start to first token."""
    itl_ms: Latency | None
    """Every gap between two events with tokens, of all requests together."""
    tpot_ms: Latency | None
    """A request's mean time for each token after its first."""
    e2e_ms: Latency | None
    """Start to the end of the answer."""


@dataclass(frozen=True)
class RunSummary:
    """See benchmarks/README.md for the definitions."""

    requests: int
    ok: int
    errors: dict[str, int]
    error_example: str
    duration_s: float
    prompt_tokens: int
    output_tokens: float
    short_outputs: int
    counted_by: str
    events_per_token: float | None
    request_s: float
    output_tok_s: float
    total_tok_s: float
    steady_decode_tok_s: float | None
    steady_s: float
    goodput_req_s: float | None
    slo_share: float | None
    times: Times
    groups: dict[str, Times]
    late_p99_ms: float | None
    client_cpu_cores: float


def summarize(traces: Sequence[Trace], options: LoadOptions, cpu_s: float = 0.0) -> RunSummary:
    """The figures of one run.

    Args:
        traces: all its requests, ended.
        options: what was asked for.
        cpu_s: processor seconds that the client itself used.
    """
    good = [trace for trace in traces if trace.ok]
    end = max((trace.finished or 0.0 for trace in good), default=0.0)
    duration = end - min(trace.start for trace in traces) if good else 0.0
    per_second = 1 / duration if duration else 0.0
    outputs = sum(trace.tokens for trace in good)
    prompts = sum(trace.prompt_tokens or 0 for trace in good)
    steady = steady_rate([list(zip(t.times, t.counts, strict=True)) for t in good], options.at_once or 0)
    kept = sum(keeps(trace, options.slo) for trace in good)
    failed = [trace for trace in traces if not trace.ok]
    return RunSummary(
        requests=len(traces),
        ok=len(good),
        errors=dict(Counter(trace.error or "unfinished" for trace in failed)),
        error_example=failed[0].detail if failed else "",
        duration_s=round(duration, 4),
        prompt_tokens=prompts,
        output_tokens=round(outputs, 3),
        short_outputs=sum(trace.tokens < trace.planned.output_tokens for trace in good),
        counted_by=_counted_by(good),
        events_per_token=round(sum(len(t.times) for t in good) / outputs, 4) if outputs else None,
        request_s=round(len(good) * per_second, 3),
        output_tok_s=round(outputs * per_second, 3),
        total_tok_s=round((prompts + outputs) * per_second, 3),
        steady_decode_tok_s=round(steady[0], 3) if steady and options.at_once else None,
        steady_s=round(steady[1], 4) if steady and options.at_once else 0.0,
        goodput_req_s=round(kept * per_second, 3) if options.slo.asked else None,
        slo_share=round(kept / len(traces), 4) if options.slo.asked else None,
        times=times(good),
        groups=_groups(good),
        late_p99_ms=_lateness(traces, options),
        client_cpu_cores=round(cpu_s * per_second, 3),
    )


def times(traces: Sequence[Trace]) -> Times:
    """The latencies of whole answers."""
    return Times(
        ttft_ms=latency([trace.ttft for trace in traces]),
        itl_ms=latency([gap for trace in traces for gap in trace.gaps]),
        tpot_ms=latency([trace.tpot for trace in traces if trace.tpot is not None]),
        e2e_ms=latency([trace.e2e for trace in traces if trace.e2e is not None]),
    )


def keeps(trace: Trace, slo: Slo) -> bool:
    """Whether a whole answer kept the objective; one with a single token has no gaps to be late with."""
    first_in_time = slo.ttft_ms is None or trace.ttft * 1e3 <= slo.ttft_ms
    rest_in_time = slo.itl_ms is None or trace.tpot is None or trace.tpot * 1e3 <= slo.itl_ms
    return first_in_time and rest_in_time


def _counted_by(traces: Sequence[Trace]) -> str:
    by_usage = sum(trace.output_tokens is not None for trace in traces)
    return "usage" if by_usage == len(traces) else "events" if by_usage == 0 else "usage and events"


def _groups(traces: Sequence[Trace]) -> dict[str, Times]:
    """Base and adapter requests apart, where a run has both: what adapters cost those who ask for none."""
    base = [trace for trace in traces if trace.planned.adapter is None]
    adapted = [trace for trace in traces if trace.planned.adapter is not None]
    return {"base": times(base), "adapters": times(adapted)} if base and adapted else {}


def _lateness(traces: Sequence[Trace], options: LoadOptions) -> float | None:
    """How late an open loop's client itself was: above a few ms, the client and not the server is measured."""
    late = latency([trace.sent - trace.start for trace in traces]) if options.rate is not None else None
    return late.p99 if late else None
