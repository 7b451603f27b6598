"""GET /v1/models: the base first, then every adapter, found anew at each call."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from loraplex_adapters.errors import UnknownAdapterError
from loraplex_server.api.access.visible import Visible, visible_to
from loraplex_server.api.document.openapi import answers
from loraplex_server.api.errors import model_not_found
from loraplex_server.api.forms.responses import json_response
from loraplex_server.api.services import Services, services_of
from loraplex_server.settings.lora_module import parent_of

router = APIRouter()

EXAMPLE = {
    "id": "sql",
    "object": "model",
    "created": 1_789_000_000,
    "owned_by": "loraplex",
    "root": "sql",
    "parent": "llama-3.2-1b",
    "max_model_len": 131_072,
}


@router.get("/v1/models", responses=answers({200: ("The models.", {"object": "list", "data": [EXAMPLE]})}))
async def list_models(request: Request) -> Response:
    """All names that `model` may have, for whoever asks."""
    services, visible = services_of(request), visible_to(request)
    names = services.settings.base_names if visible.caller.may_use_base else ()
    bases = [_base_card(services, name) for name in names]
    adapters = await asyncio.to_thread(_adapter_cards, services, visible)  # the folder may be large, and far away
    return json_response({"object": "list", "data": bases + adapters})


@router.get("/v1/models/{name:path}", responses=answers({200: ("The model.", EXAMPLE)}))
async def get_model(request: Request, name: str) -> Response:
    """One of them."""
    services, visible = services_of(request), visible_to(request)
    if name and services.names.is_base(name):
        if not visible.caller.may_use_base:
            raise model_not_found(name)
        return json_response(_base_card(services, name))
    try:
        return json_response(_adapter_card(services, visible, name))
    except UnknownAdapterError:
        raise model_not_found(name) from None


def _adapter_cards(services: Services, visible: Visible) -> list[dict[str, Any]]:
    """Of those that a request can reach: the base's names win."""
    cards = []
    for name in visible.names():
        if services.names.is_base(name):
            continue
        try:
            cards.append(_adapter_card(services, visible, name))
        except UnknownAdapterError:
            continue  # deleted since it was listed
    return cards


def _base_card(services: Services, name: str) -> dict[str, Any]:
    # `parent` must be null: routers tell adapters from bases by it. `root` is a name, never a path of this machine.
    return _card(services, name, services.started_at, root=services.names.base, parent=None)


def _adapter_card(services: Services, visible: Visible, name: str) -> dict[str, Any]:
    return _card(
        services,
        name,
        visible.created(name),
        root=visible.canonical(name),
        parent=parent_of(name, services.settings.lora_modules) or services.names.base,
    )


def _card(services: Services, name: str, created: int, root: str, parent: str | None) -> dict[str, Any]:
    info = services.engine.info
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "loraplex",
        "root": root,
        "parent": parent,
        "max_model_len": info.max_model_len if info is not None else None,
    }
