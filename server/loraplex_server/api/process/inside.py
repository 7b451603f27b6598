"""Requests that this process sends to its own app: the same routes, limits and errors, without a socket."""

from __future__ import annotations

import httpx
from starlette.types import ASGIApp

from loraplex_server.api.access.caller import Caller, acting_as

_URL = "http://inside"


def inside_client(app: ASGIApp, caller: Caller) -> httpx.AsyncClient:
    """A client of the app, in somebody's name. Cancelling a request of it ends the app's work on it."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(acting_as(app, caller)), base_url=_URL, timeout=None)
