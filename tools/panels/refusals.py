"""Refusals: what was answered with an error, and why."""

from __future__ import annotations

from panels.kinds import About, Panel, lines
from panels.queries import EACH, SERVER, Target, rate, series, share_or_zero, total

HTTP = "loraplex_http_responses_total"


def panels() -> list[Panel]:
    """In their order."""
    return [
        lines(
            About("Refused unheard", "Requests in a second that never reached the engine, by reason.", "reqps"),
            Target(f"{total(rate('vllm:admission_rejections_total'), 'reason')} or vector(0)", "{{reason}}"),
            stacked=True,
        ),
        lines(
            About("Responses by status", "Of HTTP, in a second.", "reqps"),
            Target(total(rate(HTTP), "code"), "{{code}}"),
            stacked=True,
        ),
        lines(
            About("Part refused or failed", "Of all HTTP responses: 429, 503, other 5xx, other 4xx.", "percentunit"),
            *(
                Target(share_or_zero(f"{total(rate(HTTP, matcher))} or vector(0)", total(rate(HTTP))), name)
                for name, matcher in (
                    ("429", 'code="429"'),
                    ("503", 'code="503"'),
                    ("5xx", 'code=~"5..", code!="503"'),
                    ("4xx", 'code=~"4..", code!="429"'),
                )
            ),
            most=1,
        ),
        lines(
            About("Answers by finish", "Why answers ended, in a second.", "reqps"),
            Target(total(rate("vllm:request_success_total"), "finished_reason"), "{{finished_reason}}"),
            stacked=True,
        ),
        lines(
            About("Requests by outcome", "Of all routes that do work, in a second.", "reqps"),
            Target(total(rate("loraplex_tenant_requests_total"), "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        lines(
            About(
                "Requests inside",
                "HTTP requests that are being answered; a draining server (1) takes no new ones.",
                "none",
            ),
            Target(total(series("loraplex_http_requests_in_flight"), *EACH), SERVER),
            Target(total(series("loraplex_draining"), *EACH), f"draining, {SERVER}"),
        ),
    ]
