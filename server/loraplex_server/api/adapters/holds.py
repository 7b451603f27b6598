"""What a request keeps from leaving the disk until it has ended, whichever way."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send


class Releasable(Protocol):
    """A hold on something."""

    def release(self) -> None:
        """End it."""


class Wait(NamedTuple):
    """For an adapter's source. Args: name: of the adapter. end: by time.perf_counter. seconds: how long."""

    name: str
    end: float
    seconds: float


class Holds:
    """The holds of one request, and what it waited for until it had them."""

    def __init__(self) -> None:
        self.waited: list[Wait] = []
        self._held: list[Releasable] = []

    def add(self, held: Releasable) -> None:
        """Keep one until the request ends."""
        self._held.append(held)

    def release(self) -> None:
        """End them all."""
        while self._held:
            self._held.pop().release()


class HoldMiddleware:
    """Gives each request its holds, and ends them behind the last byte of its response, or of its failure."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        holds = scope.setdefault("state", {})["holds"] = Holds()
        try:
            await self._app(scope, receive, send)
        finally:
            holds.release()


def holds_of(request: Request) -> Holds:
    """The holds that HoldMiddleware made."""
    holds = request.state.holds
    if not isinstance(holds, Holds):
        raise TypeError("the request passed no HoldMiddleware")
    return holds
