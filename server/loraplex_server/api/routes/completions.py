"""POST /v1/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from loraplex_server.api.body import read_body
from loraplex_server.api.complete import complete
from loraplex_server.api.completion_form import CompletionForm
from loraplex_server.api.openapi import json_body
from loraplex_server.api.reply import reply
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.services import services_of

router = APIRouter()


@router.post("/v1/completions", openapi_extra=json_body(CompletionRequest))
async def create_completion(request: Request) -> Response:
    """Complete one or several prompts, with the base or an adapter."""
    body = await read_body(request, CompletionRequest, services_of(request).settings.max_body_size)
    id = CompletionForm.new_id()
    found = await complete(request, body, id)
    form = CompletionForm(id, found.to.target.name, body, found.generation, found.to.renderer)
    return await reply(request, found.generation, form, body.stream)
