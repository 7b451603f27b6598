"""Whether strangers can use a server."""

from __future__ import annotations

import ipaddress

from loraplex_server.api.access.callers import Callers

WARNING = (
    "NO KEY IS NEEDED, and this server listens on %s: everyone who reaches it may use the model and all adapters. Set "
    "--api-key, make keys by `loraplex keys create`, or listen on 127.0.0.1"
)


def is_exposed(host: str, callers: Callers) -> bool:
    """Whether an address can be reached from elsewhere, and no key is needed there."""
    return not callers.guarded and not _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
