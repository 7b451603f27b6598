"""Servers: one beside the other, to see whether the load is spread as it should be."""

from __future__ import annotations

from panels.kinds import QUARTER, About, Panel, lines
from panels.objectives import TTFT
from panels.queries import EACH, SERVER, Target, quantile, rate, series, total


def panels() -> list[Panel]:
    """In their order."""
    return [
        lines(
            About("Running, by server", "Answers that each computes now.", "none", QUARTER),
            Target(total(series("vllm:num_requests_running"), *EACH), SERVER),
        ),
        lines(
            About("Waiting, by server", "Answers that wait at each.", "none", QUARTER),
            Target(total(series("vllm:num_requests_waiting"), *EACH), SERVER),
        ),
        lines(
            About("Tokens, by server", "That each generates in a second.", "short", QUARTER),
            Target(total(rate("vllm:generation_tokens_total"), *EACH), SERVER),
        ),
        lines(
            About("TTFT p95, by server", "Arrival to first token, of 95 % of each one's answers.", "s", QUARTER),
            Target(quantile(0.95, TTFT, *EACH), SERVER),
        ),
    ]
