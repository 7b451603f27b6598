"""POST /v1/chat/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from loraplex_server.api.addressee import addressee_of
from loraplex_server.api.answer import Prompt
from loraplex_server.api.body import read_body
from loraplex_server.api.chat_form import ChatForm
from loraplex_server.api.jobs import make_generation
from loraplex_server.api.openapi import json_body
from loraplex_server.api.record import record_of
from loraplex_server.api.reply import reply
from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.services import services_of

router = APIRouter()


@router.post("/v1/chat/completions", openapi_extra=json_body(ChatRequest))
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, with the base or an adapter."""
    services = services_of(request)
    body = await read_body(request, ChatRequest, services.settings.max_body_size)
    to = await addressee_of(request, body.model, body.adapters)
    to.limits.check_answers(body.n)
    prompt = Prompt(await to.renderer.encode_chat(body))
    sampling = to.limits.chat(body, len(prompt.token_ids))
    id = ChatForm.new_id()
    generation = make_generation(services, record_of(request), to, body, id, [(prompt, sampling)])
    form = ChatForm(id, to.target.name, body, generation, to.renderer.vocabulary)
    return await reply(request, generation, form, body.stream)
