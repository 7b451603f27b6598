"""The door: who may come in, how much at once, and what is counted when they leave."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from loraplex_server.api.access.caller import Caller, caller_inside
from loraplex_server.api.access.callers import Callers
from loraplex_server.api.access.keys import not_admin, unauthorized
from loraplex_server.api.access.rate_limits import headers_of, limit_reached
from loraplex_server.api.access.tenancy import Tenancy
from loraplex_server.api.at_start import at_start
from loraplex_server.api.errors import ApiError, unavailable
from loraplex_server.api.forms.responses import error_response
from loraplex_server.api.process.drain import Drain
from loraplex_server.api.record import RequestRecord
from loraplex_server.metrics import Metrics
from loraplex_server.metrics.load_report import ASKED_BY, HEADER
from loraplex_server.tenants.grant import DEFAULT
from loraplex_server.tenants.limiter import LimitReachedError, Ticket

# For probes, scrapers and readers. Whatever is not named here needs a key where the server has keys.
METRICS = "/metrics"
OPEN = frozenset({"/health", "/ping", "/ready", "/version", METRICS, "/openapi.json"})


def is_guarded(path: str) -> bool:
    """Whether a path does work for clients, or tells of it."""
    return path not in OPEN


class GuardMiddleware:
    """Refuses guarded paths to who has no key, or uses it too much, and to all once the server drains.

    Args:
        app: behind the door. callers: who may come in. tenancy: their limits and usage. drain: counts those inside.
        metrics: told of each.
    """

    def __init__(self, app: ASGIApp, callers: Callers, tenancy: Tenancy, drain: Drain, metrics: Metrics) -> None:
        self._app = app
        self._callers = callers
        self._tenancy = tenancy
        self._drain = drain
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record: RequestRecord = scope["state"]["record"]
        send = self._closing(send)
        try:
            guarded = is_guarded(scope["path"])
            if guarded:
                self._admit(scope, record)
            elif scope["path"] == METRICS and self._callers.hides_metrics:
                self._require_admin(scope)
        except (ApiError, LimitReachedError) as error:
            refusal = self._limit(error, record.caller) if isinstance(error, LimitReachedError) else error
            record.outcome = refusal.outcome
            await error_response(refusal, scope["path"])(scope, receive, send)
            return
        if not guarded:
            await self._app(scope, receive, send)
            return
        self._drain.in_flight += 1
        try:
            await self._app(scope, receive, self._with_load(scope, self._with_limits(record.ticket, send)))
        finally:
            self._drain.in_flight -= 1
            self._leave(record)

    def _admit(self, scope: Scope, record: RequestRecord) -> None:
        if self._drain.begun:
            self._metrics.requests.reject("draining")
            raise unavailable("The server is shutting down", "draining")
        caller = caller_inside(scope) or self._callers.identify(Headers(scope=scope))
        if caller is None:
            raise unauthorized("Send a valid API key as 'Authorization: Bearer KEY'")
        record.caller = caller
        if scope["method"] == "POST":
            record.ticket = self._tenancy.limiter.admit(caller.key_id, caller.limits)

    def _limit(self, error: LimitReachedError, caller: Caller) -> ApiError:
        self._metrics.tenants.limited(caller.tenant or DEFAULT, error.kind)
        refusal, limiter = limit_reached(error), self._tenancy.limiter
        refusal.headers |= headers_of(limiter.account_of(caller.key_id), limiter.clock())
        return refusal

    def _require_admin(self, scope: Scope) -> None:
        caller = self._callers.identify(Headers(scope=scope))
        if caller is None:
            raise unauthorized("The metrics of a server with tenants name them: send an admin's key")
        if not caller.admin:
            raise not_admin("see the metrics of all")

    def _closing(self, send: Send) -> Send:
        """Once the server leaves, each connection ends with its next answer: none is in use when it is gone."""

        def close(headers: MutableHeaders) -> None:
            if self._drain.leaving:
                headers["connection"] = "close"

        return at_start(send, close)

    def _with_limits(self, ticket: Ticket | None, send: Send) -> Send:
        if ticket is None or ticket.account is None:
            return send

        return at_start(send, lambda headers: headers.update(headers_of(ticket.account, self._tenancy.limiter.clock())))

    def _with_load(self, scope: Scope, send: Send) -> Send:
        asked = Headers(scope=scope).get(ASKED_BY)
        if asked is None:
            return send

        def report(headers: MutableHeaders) -> None:
            if (load := self._metrics.server.load_report(asked)) is not None:
                headers[HEADER] = load

        return at_start(send, report)

    def _leave(self, record: RequestRecord) -> None:
        tenant, used = record.caller.tenant or DEFAULT, record.used
        if record.ticket is not None:
            record.ticket.close(0 if used is None else used.prompt_tokens + used.output_tokens)
            self._metrics.tenants.ended(tenant, record.final_outcome)
        if used is not None:
            self._metrics.tenants.used(tenant, used.prompt_tokens, used.cached_tokens, used.output_tokens)
            self._tenancy.count(record)
