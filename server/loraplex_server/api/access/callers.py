"""From the key that came with a request to who sent it."""

from __future__ import annotations

from starlette.datastructures import Headers

from loraplex_server.api.access.caller import ANYONE, Caller
from loraplex_server.settings import ServeSettings
from loraplex_server.tenants.key import Key
from loraplex_server.tenants.keyring import Keyring
from loraplex_server.tenants.secret import digest_of


class Callers:
    """Everybody whom this server knows.

    Args:
        settings: with the server's own keys: API keys may use everything, admin keys administer too.
        keyring: of the tenants' keys.
    """

    def __init__(self, settings: ServeSettings, keyring: Keyring) -> None:
        # Who may change adapters may ask them too.
        self._own = {digest_of(key.get_secret_value()): ANYONE for key in settings.api_key}
        for number, key in enumerate(settings.admin_key, 1):
            self._own[digest_of(key.get_secret_value())] = Caller(admin=True, own=f"--admin-key {number}")
        # Who names a file of keys wants keys, also while none is in it.
        self._guarded = bool(settings.api_key) or settings.keys is not None
        self._has_admin = bool(settings.admin_key)
        self._open_metrics = settings.open_metrics
        self._keyring = keyring
        self._made: dict[str, tuple[Key, Caller]] = {}  # by the key's id

    @property
    def guarded(self) -> bool:
        """Whether requests need a key. An admin key alone does not make it so: then all may ask, and one may change."""
        return self._guarded or self._keyring.any()

    @property
    def has_admin(self) -> bool:
        """Whether anybody may administer this server."""
        return self._has_admin or self._keyring.has_admin()

    @property
    def hides_metrics(self) -> bool:
        """Whether metrics are for admins alone: they name every tenant and every adapter."""
        return not self._open_metrics and self._keyring.any()

    def identify(self, headers: Headers) -> Caller | None:
        """Who sent these headers; None where that is needed and they do not say it."""
        secret = key_in(headers)
        if secret is not None:
            caller = self._own.get(digest_of(secret)) or self._caller(self._keyring.by_secret(secret))
            if caller is not None:
                return caller
        return None if self.guarded else ANYONE

    def with_key(self, key_id: str) -> Caller | None:
        """Who has a key of the key store, for work that goes on without a request; None where it opens nothing.

        Args:
            key_id: "" for those who have none there.
        """
        return self._caller(self._keyring.by_id(key_id)) if key_id else ANYONE

    def _caller(self, key: Key | None) -> Caller | None:
        if key is None:
            return None
        made = self._made.get(key.id)
        if made is None or made[0] is not key:
            made = self._made[key.id] = key, _caller_of(key)
        return made[1]


def _caller_of(key: Key) -> Caller:
    grant = key.grant
    return Caller(
        tenant=grant.tenant,
        key_id=key.id,
        admin=grant.admin,
        adapters=grant.patterns,
        limits=grant.limits,
        weight=grant.weight,
        priority=grant.priority,
    )


def key_in(headers: Headers) -> str | None:
    """The key of a request: a bearer token, or in Anthropic's header or Azure's."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key") or headers.get("api-key") or None
