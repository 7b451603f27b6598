"""Who may do what: the API keys and the admin keys."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from fastapi import Request
from pydantic import SecretStr

from loraplex_server.api.errors import ApiError
from loraplex_server.settings import ServeSettings

HOW_TO_TURN_ON = (
    "Adapters cannot be added, changed or removed over the API of this server: it was started without --admin-key KEY "
    "(or LORAPLEX_ADMIN_KEY)"
)


class Keys:
    """Args: secrets: any of them opens; none opens nothing."""

    def __init__(self, secrets: Iterable[SecretStr]) -> None:
        self._known = [secret.get_secret_value().encode() for secret in secrets]

    def __bool__(self) -> bool:
        return bool(self._known)

    def open(self, authorization: str) -> bool:
        """Whether an Authorization header holds one of them."""
        scheme, _, key = authorization.partition(" ")
        given = key.strip().encode()
        # All keys are compared, in constant time: how long it takes tells nothing of how near a guess was.
        matches = [hmac.compare_digest(given, known) for known in self._known]
        return scheme.lower() == "bearer" and any(matches)


def is_admin(request: Request, settings: ServeSettings) -> bool:
    """Whether a request has the admin key."""
    return Keys(settings.admin_key).open(request.headers.get("authorization", ""))


def require_admin(request: Request, settings: ServeSettings) -> None:
    """Let a request pass that may change adapters.

    Raises:
        ApiError: 403 where the server has no admin key, or the request another key; 401 where it has none.
    """
    if not settings.admin_key:
        raise ApiError(403, HOW_TO_TURN_ON, code="admin_disabled", outcome="unauthorized")
    if not request.headers.get("authorization"):
        raise unauthorized("Send the admin key as 'Authorization: Bearer KEY'")
    if not is_admin(request, settings):
        raise ApiError(
            403, "This key may not change adapters; send the admin key", code="not_admin", outcome="unauthorized"
        )


def unauthorized(message: str) -> ApiError:
    """401: no key, or none that is known."""
    headers = {"www-authenticate": "Bearer"}
    return ApiError(401, message, code="invalid_api_key", headers=headers, outcome="unauthorized")
