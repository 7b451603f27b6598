"""/v1/adapters: what adapters there are and where; with the admin key, adding, changing and removing them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from loraplex_server.api.access.audit import audited
from loraplex_server.api.access.keys import is_admin, require_admin
from loraplex_server.api.access.visible import visible_to
from loraplex_server.api.adapters.adapter_view import AdapterView, page
from loraplex_server.api.answers.departure import unless_gone
from loraplex_server.api.body import read_body
from loraplex_server.api.document.openapi import answers, json_body
from loraplex_server.api.forms.responses import json_response
from loraplex_server.api.schemas.adapters import AddAdapter, ChangeAdapter, State
from loraplex_server.api.services import Services, services_of

router = APIRouter()
MOST = 10_000

EXAMPLE = {
    "name": "sql",
    "object": "adapter",
    "aliases": ["sql-latest"],
    "source": {"kind": "hf"},
    "pinned": True,
    "state": "device",
    "tier": "device",
    "generation": "5c0d6f2f1a7e" + "0" * 52,
    "generation_short": "5c0d6f2f1a7e",
    "disk_bytes": 13_643_776,
    "memory_bytes": 13_631_488,
    "in_flight": 3,
    "last_used": 1_790_000_000.5,
    "created": 1_789_000_000,
    "error": None,
}


@router.get(
    "/v1/adapters",
    responses=answers({200: ("The adapters, by name.", {"object": "list", "data": [EXAMPLE], "next": None})}),
)
async def list_adapters(
    request: Request,
    state: Annotated[list[State], Query(description="Only adapters in one of these states.")] = [],  # noqa: B006
    limit: Annotated[int | None, Query(ge=1, le=MOST, description="How many; all without it.")] = None,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> Response:
    """All adapters: where each is, its size, its generation, and what was wrong with it the last time."""
    services = services_of(request)
    data, following = page(await _view(request, services).all(), state, after, limit)
    return json_response({"object": "list", "data": data, "next": following})


@router.get("/v1/adapters/{name:path}", responses=answers({200: ("The adapter.", EXAMPLE), 404: "There is none."}))
async def get_adapter(request: Request, name: str) -> Response:
    """One adapter, by its name or an alias."""
    return json_response(_view(request, services_of(request)).one(name))


@router.post(
    "/v1/adapters",
    openapi_extra=json_body(AddAdapter),
    responses=answers(
        {
            200: ("It was there already, or took the place of another source.", EXAMPLE),
            201: ("It is new.", EXAMPLE),
            400: "It cannot be served; the message has every reason. Nothing was changed.",
            403: "No admin key, or the source is not among those that the server allows.",
            404: "There is nothing at that source.",
            409: "The name means something else; `replace` changes what was added before.",
            503: "The source does not answer, or the model is still being loaded.",
        }
    ),
)
async def add_adapter(request: Request) -> Response:
    """Add an adapter; without a `preload` of false it is in memory when the answer comes."""
    services = services_of(request)
    with audited(request, "adapter.add") as deed:
        require_admin(request)
        body = await read_body(request, AddAdapter, services.settings.max_body_size)
        deed.about(body.name, source=body.source)
        new = await unless_gone(request.receive, services.admin.add(body))
    return json_response(_view(request, services).one(body.name), 201 if new else 200)


@router.patch(
    "/v1/adapters/{name:path}",
    openapi_extra=json_body(ChangeAdapter),
    responses=answers({200: ("As it is now.", EXAMPLE), 404: "There is none.", 409: "An alias is an adapter's name."}),
)
async def change_adapter(request: Request, name: str) -> Response:
    """Pin or unpin an adapter, or give it other aliases; an alias of another adapter moves here."""
    services = services_of(request)
    with audited(request, "adapter.change") as deed:
        deed.about(name)
        require_admin(request)
        body = await read_body(request, ChangeAdapter, services.settings.max_body_size)
        deed.about(name, pinned=body.pinned, aliases=body.aliases)
        await unless_gone(request.receive, services.admin.change(name, body))
    return json_response(_view(request, services).one(name))


@router.delete(
    "/v1/adapters/{name:path}",
    responses=answers(
        {
            200: ("It is gone.", {"name": "sql", "object": "adapter", "deleted": True}),
            404: "There is none.",
            409: "It is a folder among the server's adapters, which only removing the folder removes.",
        }
    ),
)
async def remove_adapter(request: Request, name: str) -> Response:
    """Remove an adapter that was added, or an alias. Requests that it answers finish."""
    services = services_of(request)
    with audited(request, "adapter.remove") as deed:
        deed.about(name)
        require_admin(request)
        await services.admin.remove(name)
    return json_response({"name": name, "object": "adapter", "deleted": True})


def _view(request: Request, services: Services) -> AdapterView:
    entries = services.engine.stats.adapters.entries
    return AdapterView(visible_to(request), entries, services.outcomes, places=is_admin(request))
