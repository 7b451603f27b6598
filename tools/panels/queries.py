"""PromQL for panels: every series is of the chosen servers, every rate over `$__rate_interval`."""

from __future__ import annotations

from dataclasses import dataclass

SERVERS = 'job=~"$job", instance=~"$instance"'
# vLLM's names may come from several models behind one job; ours, and this one of vLLM's, have no such label.
MODEL = f'{SERVERS}, model_name=~"$model_name"'
WITHOUT_MODEL = frozenset({"vllm:lora_requests_info"})
# Behind Ray Serve one instance shows several servers, each with a label of its own.
EACH = ("instance", "replica")
SERVER = "{{instance}} {{replica}}"
USED = 'tier=~"gpu|cpu"'  # where adapters are used, by the engine's device
WINDOW = "$__rate_interval"
RANGE = "$__range"


@dataclass(frozen=True)
class Target:
    """One query of a panel. Args: expr: PromQL. legend: name of its series. instant: of this moment only."""

    expr: str
    legend: str
    instant: bool = False


def series(name: str, *more: str) -> str:
    """The chosen servers' series of this name, with these matchers besides."""
    scope = MODEL if name.startswith("vllm:") and name not in WITHOUT_MODEL else SERVERS
    return f"{name}{{{', '.join((scope, *more))}}}"


def rate(name: str, *more: str) -> str:
    """What a counter grows by, in a second."""
    return f"rate({series(name, *more)}[{WINDOW}])"


def growth(name: str, *more: str) -> str:
    """What a counter grew by in all the time that is shown."""
    return f"increase({series(name, *more)}[{RANGE}])"


def total(expr: str, *by: str) -> str:
    """The sum, or one for each value of these labels."""
    return f"sum by ({', '.join(by)}) ({expr})" if by else f"sum({expr})"


def share(part: str, whole: str) -> str:
    """A part of the whole, and nothing where there is no whole: 0 would look like a promise broken."""
    return f"({part}) / ({whole} > 0)"


def share_or_zero(part: str, whole: str) -> str:
    """Where 0 says that all is as it should be."""
    return f"{share(part, whole)} or 0 * {whole}"


def top(count: int, expr: str, *by: str) -> str:
    """The largest sums."""
    return f"topk({count}, {total(expr, *by)})"


def quantile(q: float, histogram: str, *by: str) -> str:
    """Of a histogram, over the chosen servers together, or one for each value of these labels."""
    return f"histogram_quantile({q}, {total(rate(f'{histogram}_bucket'), *by, 'le')})"


def mean(histogram: str) -> str:
    """Of a histogram, over the chosen servers together."""
    return f"{total(rate(f'{histogram}_sum'))} / {total(rate(f'{histogram}_count'))}"


def percentiles(histogram: str, *qs: float, named: str = "") -> list[Target]:
    """Such as p95. Args: named: what stands before that."""
    return [Target(quantile(q, histogram), f"{named} p{q * 100:g}".lstrip()) for q in qs]


def quantiles(histogram: str) -> list[Target]:
    """The usual three, and the mean."""
    return [*percentiles(histogram, 0.5, 0.95, 0.99), Target(mean(histogram), "mean")]


def buckets(histogram: str) -> Target:
    """How many observations came into each bucket: for a heatmap."""
    return Target(total(f"increase({series(f'{histogram}_bucket')}[{WINDOW}])", "le"), "{{le}}")


def within(histogram: str, bound: str) -> str:
    """Part of the observations that were at most this bound, one of the histogram's own."""
    return share(total(rate(f"{histogram}_bucket", f'le="{bound}"')), total(rate(f"{histogram}_count")))
