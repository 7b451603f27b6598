"""What is counted by tenant."""

from __future__ import annotations

from loraplex_server.metrics.adapter_names import AdapterNames
from loraplex_server.metrics.requests import FAILURES
from loraplex_server.metrics.series import Page
from loraplex_server.tenants.grant import DEFAULT


class TenantMetrics:
    """Args: page: of the server's metrics. names: which tenants have series of their own; the rest share one."""

    def __init__(self, page: Page, names: AdapterNames) -> None:
        self._names = names
        self._requests = page.counter(
            "loraplex_tenant_requests", "Requests for work that ended.", ("tenant", "outcome")
        )
        self._tokens = page.counter("loraplex_tenant_tokens", "Tokens of requests.", ("tenant", "kind"))
        self._limited = page.counter(
            "loraplex_tenant_rate_limited", "Requests beyond a limit of their key.", ("tenant", "limit")
        )
        self._has_failures(DEFAULT)

    def ended(self, tenant: str, outcome: str) -> None:
        """Count a request."""
        self._requests.labels(self._label(tenant), outcome).inc()

    def used(self, tenant: str, prompt: int, cached: int, output: int) -> None:
        """Count its tokens; those found in the cache are among the prompt's."""
        label = self._label(tenant)
        for kind, tokens in (("prompt", prompt), ("cached", cached), ("generation", output)):
            self._tokens.labels(label, kind).inc(tokens)

    def limited(self, tenant: str, limit: str) -> None:
        """Count a refusal."""
        self._limited.labels(self._label(tenant), limit).inc()

    def _label(self, tenant: str) -> str:
        (label,) = self._names.labels((tenant,))
        self._has_failures(label)
        return label

    def _has_failures(self, label: str) -> None:
        """Zero until there are any."""
        for outcome in FAILURES:
            self._requests.labels(label, outcome)
