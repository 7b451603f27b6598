"""Overview: is it up, how much does it do, how long does one wait."""

from __future__ import annotations

from panels.kinds import HALF, LOW, NARROW, About, Panel, lines, number
from panels.objectives import INTER_TOKEN, TTFT, bound
from panels.queries import SERVERS, USED, Target, quantile, rate, series, share_or_zero, total, within

# As the alert LoraplexErrorRate counts them: 500, and 503 that asks to come again.
FAILED = 'outcome=~"error|unavailable"'


def panels() -> list[Panel]:
    """In their order."""
    return [*_numbers(), *_promises(), *_courses()]


def _stat(title: str, description: str, unit: str, empty: str = "") -> About:
    return About(title, description, unit, NARROW, LOW, empty)


def _numbers() -> list[Panel]:
    down = f"count(up{{{SERVERS}}} == 0) or vector(0)"
    failed = share_or_zero(
        total(rate("loraplex_tenant_requests_total", FAILED)), total(rate("loraplex_tenant_requests_total"))
    )
    tokens = f"{total(rate('vllm:prompt_tokens_total'))} + {total(rate('vllm:generation_tokens_total'))}"
    return [
        number(_stat("Servers", "Servers that answer Prometheus.", "none"), Target(f"sum(up{{{SERVERS}}})", "up")),
        number(_stat("Down", "Servers that Prometheus cannot reach.", "none"), Target(down, "down"), None, 1),
        number(
            _stat("Alerts", "Alerts of deploy/prometheus/rules.yaml that fire, whatever server they are of.", "none"),
            Target('count(ALERTS{alertname=~"Loraplex.+", alertstate="firing"}) or vector(0)', "firing"),
            1,
        ),
        number(
            _stat("Requests", "Answers that ended in a second.", "reqps"),
            Target(total(rate("vllm:request_success_total")), "requests"),
        ),
        number(_stat("Tokens", "Tokens of prompts and answers in a second.", "short"), Target(tokens, "tokens/s")),
        number(
            _stat("Running", "Answers that are computed now.", "none"),
            Target(total(series("vllm:num_requests_running")), "running"),
        ),
        number(
            _stat("Waiting", "Answers that wait for a seat, memory or an adapter.", "none"),
            Target(total(series("vllm:num_requests_waiting")), "waiting"),
            10,
            100,
        ),
        number(
            _stat(
                "Failed", "Part of the requests that ended in an error of the server's own, 500 or 503.", "percentunit"
            ),
            Target(failed, "failed"),
            0.01,
            0.05,
        ),
    ]


def _promises() -> list[Panel]:
    first, next_ = bound(TTFT), bound(INTER_TOKEN)
    resident = total(series("loraplex_adapters", USED))
    refused = total(rate("loraplex_http_responses_total", 'code=~"429|503"'))
    return [
        number(
            _stat("TTFT p95", "Arrival to first token, of 95 % of the answers.", "s"),
            Target(quantile(0.95, TTFT), "p95"),
        ),
        number(
            _stat("Inter-token p95", "Between two tokens, of 95 % of them.", "s"),
            Target(quantile(0.95, INTER_TOKEN), "p95"),
        ),
        number(
            _stat(
                f"TTFT ≤ {float(first):g} s",
                "Part of the answers whose first token came in the promised time.",
                "percentunit",
                "no answers",
            ),
            Target(within(TTFT, first), "in time"),
        ),
        number(
            _stat(
                f"Inter-token ≤ {float(next_):g} s",
                "Part of the tokens that came in the promised time.",
                "percentunit",
                "no answers",
            ),
            Target(within(INTER_TOKEN, next_), "in time"),
        ),
        number(
            _stat("KV cache", "The fullest server's.", "percentunit"),
            Target(f"max({series('vllm:kv_cache_usage_perc')})", "used"),
            0.8,
            0.95,
        ),
        number(_stat("Adapters", "Adapters in the memory where they are used.", "none"), Target(resident, "adapters")),
        number(
            _stat("429s and 503s", "Answers in a second that told a client to come again.", "reqps"),
            Target(f"{refused} or vector(0)", "refused"),
            0.1,
            1,
        ),
        number(
            _stat("Engines down", "Servers whose engine does not run: it loads, restarts or is dead.", "none"),
            Target(f"count({series('loraplex_engine_up')} == 0) or vector(0)", "down"),
            1,
        ),
    ]


def _courses() -> list[Panel]:
    prompts, cached = total(rate("vllm:prompt_tokens_total")), total(rate("vllm:prompt_tokens_cached_total"))
    return [
        lines(
            About(
                "Throughput",
                "Tokens in a second: of prompts, computed or found in the cache, and of answers.",
                "short",
                HALF,
            ),
            Target(f"{prompts} - {cached}", "prompt, computed"),
            Target(cached, "prompt, from the cache"),
            Target(total(rate("vllm:generation_tokens_total")), "generated"),
            stacked=True,
        ),
        lines(
            About("Running and waiting", "Answers that are computed, and that wait.", "none", HALF),
            Target(total(series("vllm:num_requests_running")), "running"),
            Target(total(series("vllm:num_requests_waiting")), "waiting"),
        ),
    ]
