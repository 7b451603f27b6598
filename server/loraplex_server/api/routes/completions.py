"""POST /v1/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from loraplex_server.api.addressee import addressee_of_body
from loraplex_server.api.body import read_body
from loraplex_server.api.completion_form import CompletionForm
from loraplex_server.api.constraints import constraints_of
from loraplex_server.api.jobs import make_generation
from loraplex_server.api.openapi import json_body
from loraplex_server.api.prompts import read_prompts
from loraplex_server.api.record import record_of
from loraplex_server.api.reply import reply
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.services import services_of

router = APIRouter()


@router.post("/v1/completions", openapi_extra=json_body(CompletionRequest))
async def create_completion(request: Request) -> Response:
    """Complete one or several prompts, with the base or an adapter."""
    services = services_of(request)
    body = await read_body(request, CompletionRequest, services.settings.max_body_size)
    to = await addressee_of_body(request, body)
    to.limits.check_answers(len(body.prompt) * body.answers)
    prompts = await read_prompts(body, to.limits, to.renderer)
    constraints = await constraints_of(body, to.renderer)
    parameters = to.limits.completions(body, [len(prompt.token_ids) for prompt in prompts], constraints)
    id = CompletionForm.new_id()
    work = list(zip(prompts, parameters, strict=True))
    generation = make_generation(services, record_of(request), to, body, id, work)
    form = CompletionForm(id, to.target.name, body, generation, to.renderer)
    return await reply(request, generation, form, body.stream)
