"""What is counted by tenant."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from loraplex_server.metrics.adapter_names import AdapterNames


class TenantMetrics:
    """Args: registry: of the server's metrics. names: which tenants have series of their own; the rest share one."""

    def __init__(self, registry: CollectorRegistry, names: AdapterNames) -> None:
        self._names = names
        self._requests = Counter(
            "loraplex_tenant_requests", "Requests for work that ended.", ("tenant", "outcome"), registry=registry
        )
        self._tokens = Counter("loraplex_tenant_tokens", "Tokens of requests.", ("tenant", "kind"), registry=registry)
        self._limited = Counter(
            "loraplex_tenant_rate_limited",
            "Requests beyond a limit of their key.",
            ("tenant", "limit"),
            registry=registry,
        )

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
        return label
