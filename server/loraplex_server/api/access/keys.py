"""What only a key lets a request do."""

from __future__ import annotations

from fastapi import Request

from loraplex_server.api.access.callers import key_in
from loraplex_server.api.errors import ApiError
from loraplex_server.api.record import record_of
from loraplex_server.api.services import services_of


def is_admin(request: Request) -> bool:
    """Whether a request came with an admin's key."""
    return record_of(request).caller.admin


def require_admin(request: Request, deed: str = "add, change or remove adapters") -> None:
    """Let a request pass that may do what is for admins.

    Raises:
        ApiError: 403 where the server has no admin key, or the request another key; 401 where it has none.
    """
    if is_admin(request):
        return
    if not services_of(request).callers.has_admin:
        message = f"Nobody may {deed} over the API of this server: it has no admin key (--admin-key KEY)"
        raise ApiError(403, message, code="admin_disabled", outcome="unauthorized")
    if key_in(request.headers) is None:
        raise unauthorized("Send the admin key as 'Authorization: Bearer KEY'")
    raise not_admin(deed)


def not_admin(deed: str) -> ApiError:
    """403: somebody's key, but not an admin's."""
    return ApiError(403, f"This key may not {deed}; send the admin key", code="not_admin", outcome="unauthorized")


def unauthorized(message: str) -> ApiError:
    """401: no key, or none that is known."""
    headers = {"www-authenticate": "Bearer"}
    return ApiError(401, message, code="invalid_api_key", headers=headers, outcome="unauthorized")
