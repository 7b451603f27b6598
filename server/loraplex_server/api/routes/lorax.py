"""LoRAX's /generate and /generate_stream, and the root path that its client asks."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from loraplex_server.api.addressee import addressee_of
from loraplex_server.api.body import read_body
from loraplex_server.api.constraints import constraints_of
from loraplex_server.api.jobs import make_generation
from loraplex_server.api.lorax_body import completion_of
from loraplex_server.api.lorax_form import LoraxForm
from loraplex_server.api.openapi import json_body
from loraplex_server.api.prompts import read_prompts
from loraplex_server.api.record import record_of
from loraplex_server.api.reply import reply
from loraplex_server.api.schemas.lorax import LoraxCompatRequest, LoraxRequest
from loraplex_server.api.services import services_of

router = APIRouter()


@router.post("/generate", openapi_extra=json_body(LoraxRequest))
async def generate(request: Request) -> Response:
    """LoRAX: complete a text, in one piece."""
    body = await read_body(request, LoraxRequest, services_of(request).settings.max_body_size)
    return await _answer(request, body, stream=False)


@router.post("/generate_stream", openapi_extra=json_body(LoraxRequest))
async def generate_stream(request: Request) -> Response:
    """LoRAX: complete a text, an event a token."""
    body = await read_body(request, LoraxRequest, services_of(request).settings.max_body_size)
    return await _answer(request, body, stream=True)


@router.post("/", openapi_extra=json_body(LoraxCompatRequest))
async def compat_generate(request: Request) -> Response:
    """LoRAX: either, as `stream` says. The whole answer is the one element of a list."""
    body = await read_body(request, LoraxCompatRequest, services_of(request).settings.max_body_size)
    return await _answer(request, body, body.stream, in_list=True)


async def _answer(request: Request, body: LoraxRequest, stream: bool, *, in_list: bool = False) -> Response:
    services, record = services_of(request), record_of(request)
    completion = completion_of(body, stream)
    to = await addressee_of(request, completion.model, completion.adapters)
    to.limits.check_answers(completion.answers)
    prompts = await read_prompts(completion, to.limits, to.renderer)
    constraints = await constraints_of(completion, to.renderer)
    lengths = [len(prompt.token_ids) for prompt in prompts]
    parameters = to.limits.completions(completion, lengths, constraints, fill=True)
    work = list(zip(prompts, parameters, strict=True))
    generation = make_generation(services, record, to, completion, LoraxForm.new_id(), work)
    form = LoraxForm(body, generation, to.renderer, record, services.names.base, in_list=in_list)
    return await reply(request, generation, form, stream)
