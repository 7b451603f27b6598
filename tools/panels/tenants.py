"""Tenants: who uses the server, and whom it held back."""

from __future__ import annotations

from panels.kinds import About, Panel, lines, ranking
from panels.queries import Target, growth, rate, top, total

LIMITED = "loraplex_tenant_rate_limited_total"


def panels() -> list[Panel]:
    """In their order."""
    requests = growth("loraplex_tenant_requests_total")
    return [
        ranking(
            About("Top tenants by tokens", "Of prompts and answers, in the time that is shown.", "short"),
            # The cached are among the prompts'.
            Target(
                top(10, growth("loraplex_tenant_tokens_total", 'kind!="cached"'), "tenant"), "{{tenant}}", instant=True
            ),
        ),
        ranking(
            About(
                "Top tenants by requests", "In the time that is shown; `default` are those without a tenant.", "short"
            ),
            Target(top(10, requests, "tenant"), "{{tenant}}", instant=True),
        ),
        lines(
            About("Rate-limited", "Requests in a second that went beyond a limit of their key.", "reqps"),
            Target(f"{total(rate(LIMITED), 'tenant', 'limit')} or vector(0)", "{{tenant}} {{limit}}"),
        ),
        lines(
            About("Tokens by tenant", "The ten that used most, in a second.", "short"),
            Target(top(10, rate("loraplex_tenant_tokens_total", 'kind!="cached"'), "tenant"), "{{tenant}}"),
            stacked=True,
        ),
        lines(
            About("Tokens by kind", "Of all tenants; the cached are among the prompts'.", "short"),
            Target(total(rate("loraplex_tenant_tokens_total"), "kind"), "{{kind}}"),
        ),
        lines(
            About("Requests by tenant", "The ten that asked most, in a second.", "reqps"),
            Target(top(10, rate("loraplex_tenant_requests_total"), "tenant"), "{{tenant}}"),
        ),
    ]
