"""POST /v1/chat/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from loraplex_server.api.body import read_body
from loraplex_server.api.chat_form import ChatForm
from loraplex_server.api.converse import converse
from loraplex_server.api.openapi import json_body
from loraplex_server.api.reply import reply
from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.services import services_of

router = APIRouter()


@router.post("/v1/chat/completions", openapi_extra=json_body(ChatRequest))
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, with the base or an adapter."""
    services = services_of(request)
    body = await read_body(request, ChatRequest, services.settings.max_body_size)
    id = ChatForm.new_id()
    found = await converse(request, body, id)
    form = ChatForm(id, found.to.target.name, body, found.generation, found.to.renderer.vocabulary)
    return await reply(request, found.generation, form, body.stream)
