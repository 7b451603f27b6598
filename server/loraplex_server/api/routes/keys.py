"""/v1/keys: the keys of tenants, for admins."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from fastapi import APIRouter, Request, Response

from loraplex_server.api.access.audit import audited
from loraplex_server.api.access.keys import require_admin
from loraplex_server.api.body import read_body
from loraplex_server.api.document.openapi import answers, json_body
from loraplex_server.api.errors import ApiError
from loraplex_server.api.forms.responses import json_response
from loraplex_server.api.schemas.keys import CreateKey
from loraplex_server.api.services import services_of
from loraplex_server.tenants.errors import UnknownKeyError
from loraplex_server.tenants.key import new_key

router = APIRouter()
_T = TypeVar("_T")

DEED = "make, see or revoke keys"
EXAMPLE = {
    "id": "key_5c0d6f2f1a7e90b3",
    "object": "key",
    "state": "active",
    "tenant": "acme",
    "name": "",
    "adapters": ["acme-*"],
    "requests_per_minute": 60,
    "tokens_per_minute": 100_000,
    "concurrency": None,
    "weight": 1.0,
    "priority": 0,
    "admin": False,
    "expires": None,
    "created": 1_790_000_000,
    "revoked": None,
}
_NOT_KEPT = "This server keeps no keys that could change over its API: see --state-dir and --keys."


@router.get("/v1/keys", responses=answers({200: ("All keys.", {"object": "list", "data": [EXAMPLE]})}))
async def list_keys(request: Request) -> Response:
    """All keys, revoked ones too; never the secrets, which nobody knows but their owners."""
    require_admin(request, DEED)
    keys = services_of(request).tenancy.keyring.all()
    return json_response({"object": "list", "data": [key.fields() for key in keys]})


@router.post(
    "/v1/keys",
    openapi_extra=json_body(CreateKey),
    responses=answers(
        {201: ("It is new; `secret` is not shown again.", {**EXAMPLE, "secret": "lp-..."}), 409: _NOT_KEPT}
    ),
)
async def create_key(request: Request) -> Response:
    """Make a key. The first one closes the server to those who have none."""
    services = services_of(request)
    with audited(request, "key.create") as deed:
        require_admin(request, DEED)
        body = await read_body(request, CreateKey, services.settings.max_body_size)
        key, secret = new_key(body.grant)
        deed.about(key.id, for_tenant=key.grant.tenant, admin=key.grant.admin)
        await asyncio.to_thread(services.tenancy.add_key, key)
    return json_response({**key.fields(), "secret": secret}, 201)


@router.delete(
    "/v1/keys/{id}",
    responses=answers({200: ("It opens nothing any more.", EXAMPLE), 404: "There is none.", 409: _NOT_KEPT}),
)
async def revoke_key(request: Request, id: str) -> Response:
    """Revoke a key, for good. Requests that are being answered finish."""
    with audited(request, "key.revoke") as deed:
        deed.about(id)
        require_admin(request, DEED)
        try:
            key = await asyncio.to_thread(services_of(request).tenancy.revoke_key, id)
        except UnknownKeyError as error:
            raise ApiError(404, str(error), param="id", code="key_not_found", outcome="not_found") from None
    return json_response(key.fields())
