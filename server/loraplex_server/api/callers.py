"""From the key that came with a request to who sent it."""

from __future__ import annotations

import hashlib

from starlette.datastructures import Headers

from loraplex_server.api.caller import ANYONE, Caller
from loraplex_server.settings import ServeSettings

_ADMIN = Caller(admin=True)


class Callers:
    """Everybody whom this server knows.

    Args:
        settings: with the server's own keys: API keys may use everything, admin keys administer too.
    """

    def __init__(self, settings: ServeSettings) -> None:
        # Who may change adapters may ask them too.
        self._own = {_digest(key.get_secret_value()): ANYONE for key in settings.api_key}
        self._own |= {_digest(key.get_secret_value()): _ADMIN for key in settings.admin_key}
        self._guarded = bool(settings.api_key)
        self._has_admin = bool(settings.admin_key)

    @property
    def guarded(self) -> bool:
        """Whether requests need a key. An admin key alone does not make it so: then all may ask, and one may change."""
        return self._guarded

    @property
    def has_admin(self) -> bool:
        """Whether anybody may administer this server."""
        return self._has_admin

    def identify(self, headers: Headers) -> Caller | None:
        """Who sent these headers; None where that is needed and they do not say it."""
        key = key_in(headers)
        caller = None if key is None else self._own.get(_digest(key))
        return caller if caller is not None or self.guarded else ANYONE


def key_in(headers: Headers) -> str | None:
    """The key of a request: a bearer token, or in Anthropic's header or Azure's."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key") or headers.get("api-key") or None


def _digest(key: str) -> bytes:
    """What keys are looked up by: how long a look-up takes tells something of a digest, which nobody can aim."""
    return hashlib.sha256(key.encode()).digest()
