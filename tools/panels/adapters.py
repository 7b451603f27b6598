"""Adapters: where they are, how they come and go, and which are asked for."""

from __future__ import annotations

from panels.kinds import HALF, About, Panel, heat_of, lines, listing, ranking
from panels.queries import USED, Target, buckets, growth, percentiles, rate, series, share, top, total

LOAD = "loraplex_adapter_load_seconds"
HITS, MISSES = "loraplex_adapter_cache_hits_total", "loraplex_adapter_cache_misses_total"


def panels() -> list[Panel]:
    """In their order."""
    return [*_places(), *_loads(), *_moves(), *_most_asked(), *_present()]


def _places() -> list[Panel]:
    return [
        lines(
            About("Adapters by tier", "Where they are used (gpu or cpu), and in the host tier behind it.", "none"),
            Target(total(series("loraplex_adapters"), "tier"), "{{tier}}"),
            Target(total(series("loraplex_adapters_pinned")), "pinned"),
            Target(total(series("loraplex_adapters_waiting")), "waited for"),
        ),
        lines(
            About("Adapter memory", "What adapters take, and what they may take.", "bytes"),
            Target(total(series("loraplex_adapter_bytes"), "tier"), "{{tier}}"),
            Target(total(series("loraplex_adapter_memory_limit_bytes"), "tier"), "limit, {{tier}}"),
        ),
        lines(
            About(
                "Copies on disk", "Of remote adapters, and what they may take; 0 where all adapters are local.", "bytes"
            ),
            Target(f"{total(series('loraplex_disk_cache_bytes'))} or vector(0)", "copies"),
            Target(f"{total(series('loraplex_disk_cache_limit_bytes'))} or vector(0)", "limit"),
        ),
    ]


def _loads() -> list[Panel]:
    return [
        lines(
            About("Loads", "Adapters brought to where they are used, in a second, from disk or the host tier.", "ops"),
            Target(total(rate("loraplex_adapter_loads_total"), "source"), "from {{source}}"),
            Target(total(rate("loraplex_adapter_load_failures_total")), "failed"),
        ),
        lines(
            About("Load time", "Of one load from disk.", "s"),
            *percentiles(LOAD, 0.5, 0.95),
        ),
        heat_of(
            About("Load time, all loads", "How many loads from disk took how long.", "s"),
            buckets(LOAD),
        ),
    ]


def _moves() -> list[Panel]:
    asked = f"({total(rate(HITS))} + {total(rate(MISSES))})"
    used = total(rate(HITS, USED))
    return [
        lines(
            About(
                "Hit rate",
                "Part of the requests that found their adapter where it is used, or at least in memory.",
                "percentunit",
                empty="no requests for adapters",
            ),
            Target(share(used, asked), "where it is used"),
            Target(share(total(rate(HITS)), asked), "in memory"),
            most=1,
        ),
        lines(
            About("Hits and misses", "Requests in a second that found their adapter in a tier, or in none.", "ops"),
            Target(total(rate(HITS), "tier"), "hit, {{tier}}"),
            Target(total(rate(MISSES)), "miss"),
            stacked=True,
        ),
        lines(
            About(
                "Evictions",
                "Adapters in a second that made room. Many, against the requests: memory is too small.",
                "ops",
            ),
            Target(total(rate("loraplex_adapter_evictions_total"), "tier"), "{{tier}}"),
        ),
    ]


def _most_asked() -> list[Panel]:
    requests, tokens = growth("loraplex_adapter_requests_total"), growth("loraplex_adapter_tokens_total")
    return [
        ranking(
            About("Top adapters by requests", "In the time that is shown; `base` is the base alone.", "short"),
            Target(top(10, requests, "adapter"), "{{adapter}}", instant=True),
        ),
        ranking(
            About("Top adapters by tokens", "Of prompts and answers, in the time that is shown.", "short"),
            Target(top(10, tokens, "adapter"), "{{adapter}}", instant=True),
        ),
        lines(
            About("Tokens by adapter", "The ten that computed most, in a second.", "short"),
            Target(top(10, rate("loraplex_adapter_tokens_total"), "adapter"), "{{adapter}}"),
            stacked=True,
        ),
    ]


def _present() -> list[Panel]:
    columns = {
        "instance": "server",
        "replica": "replica",
        "running_lora_adapters": "in memory",
        "waiting_lora_adapters": "waited for",
        "max_lora": "how many such fit",
    }
    return [
        listing(
            About("Adapters in memory", "By server, as routers read it.", "none", HALF),
            Target(series("vllm:lora_requests_info"), "", instant=True),
            columns,
        ),
        lines(
            About("Adapter requests by outcome", "Of adapters and the base, in a second.", "reqps", HALF),
            Target(total(rate("loraplex_adapter_requests_total"), "outcome"), "{{outcome}}"),
            stacked=True,
        ),
    ]
