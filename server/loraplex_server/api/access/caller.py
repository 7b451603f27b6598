"""Who sent a request."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from loraplex_server.engine.messages import Share
from loraplex_server.tenants.limits import UNLIMITED, Limits
from loraplex_server.tenants.patterns import BASE, EVERYTHING, Patterns

# Only code of this process can write into a scope: no header, path or body of a client's ends up there.
_SCOPE = "loraplex.caller"
_BATCH = "loraplex.batch"


@dataclass(frozen=True)
class Caller:
    """What a request may do and how it counts. The default may use everything and administer nothing.

    Args:
        tenant: that all its work counts to; "" for those with the server's own keys, or with none.
        key_id: of its key in the key store; "" where it has none there.
        own: which of the server's own admin keys it has; "" for all others.
        admin: it may change adapters and keys, use all of them and see everybody's usage.
        adapters: canonical names of the adapters that it may see and use, `base` among them for the base model.
        limits: of its key.
        weight: of its tenant's share in the engine.
        priority: lower is earlier.
    """

    tenant: str = ""
    key_id: str = ""
    own: str = ""
    admin: bool = False
    adapters: Patterns = EVERYTHING
    limits: Limits = UNLIMITED
    weight: float = 1.0
    priority: int = 0

    def may_use(self, adapter: str) -> bool:
        """Whether it may see and use an adapter, by the name that aliases stand for."""
        return self.admin or self.adapters.fit(adapter)

    @property
    def may_use_base(self) -> bool:
        """Whether it may see and use the base model, alone or in a sum with adapters."""
        return self.may_use(BASE)

    def share_for(self, priority: int | None) -> Share:
        """How its work counts in the engine.

        Args:
            priority: that the request asks for; None: the caller's own. A tenant's cannot be more urgent than that.
        """
        if priority is None:
            priority = self.priority
        elif self.tenant:
            priority = max(priority, self.priority)
        return Share(tenant=self.tenant, weight=self.weight, priority=priority)


ANYONE = Caller()


def acting_as(app: ASGIApp, caller: Caller, batch: str | None = None) -> ASGIApp:
    """The app, asked by this process itself in somebody's name: without a key, as if the caller had sent one.

    Args:
        batch: id of the one that it is asked for.
    """

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, _SCOPE: caller, _BATCH: batch}, receive, send)

    return asked


def batch_inside(scope: MutableMapping[str, Any]) -> str | None:
    """Of which batch a request is a line; None for all others."""
    batch = scope.get(_BATCH)
    return batch if isinstance(batch, str) else None


def caller_inside(scope: MutableMapping[str, Any]) -> Caller | None:
    """In whose name this process asks itself; None for requests from outside."""
    caller = scope.get(_SCOPE)
    return caller if isinstance(caller, Caller) else None
