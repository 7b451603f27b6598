"""The seam between the API and tracing, so that who does without it imports nothing of it."""

from __future__ import annotations

from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import Scope

from loraplex_server.api.record import RequestRecord


class RequestSpan(Protocol):
    """The span of one request."""

    def end(self, record: RequestRecord, scope: Scope) -> None:
        """The request has ended, in whatever way: tell what is known of it."""


class Tracing(Protocol):
    """Where spans go."""

    def begin(self, record: RequestRecord, headers: Headers) -> RequestSpan:
        """A request came; from now on its record says which trace it belongs to."""

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""
