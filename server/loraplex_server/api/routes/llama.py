"""llama.cpp's own routes: /completion, and /lora-adapters, whose numbers `lora` of any completion or chat takes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from loraplex_server.api.addressee import addressee_of
from loraplex_server.api.body import read_body, reading
from loraplex_server.api.errors import ApiError
from loraplex_server.api.jobs import make_generation
from loraplex_server.api.llama_form import LlamaForm
from loraplex_server.api.openapi import answers, json_body
from loraplex_server.api.prompts import read_prompts
from loraplex_server.api.record import record_of
from loraplex_server.api.reply import reply
from loraplex_server.api.responses import json_response
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.schemas.llama import LlamaRequest
from loraplex_server.api.services import services_of
from loraplex_server.api.visible import visible_to

router = APIRouter()

EXAMPLE = [{"id": 0, "path": "reverse", "scale": 0.0}, {"id": 1, "path": "upper", "scale": 0.0}]


@router.post("/completion", openapi_extra=json_body(LlamaRequest))
@router.post("/completions", include_in_schema=False)
async def llama_completion(request: Request) -> Response:
    """llama.cpp: complete a prompt, or several."""
    services, record = services_of(request), record_of(request)
    body = await read_body(request, LlamaRequest, services.settings.max_body_size)
    with reading(CompletionRequest):
        completion = body.completion()
    adapters = services.lora_numbers.adapters(visible_to(request), body.lora)
    to = await addressee_of(request, completion.model, adapters)
    to.limits.check_answers(len(completion.prompt) * completion.answers)
    prompts = await read_prompts(completion, to.limits, to.renderer)
    parameters = to.limits.completions(completion, [len(prompt.token_ids) for prompt in prompts], fill=True)
    work = list(zip(prompts, parameters, strict=True))
    generation = make_generation(services, record, to, completion, LlamaForm.new_id(), work)
    return await reply(
        request, generation, LlamaForm(to.target.name, body, generation, to.renderer, record), body.stream
    )


@router.get("/lora-adapters", responses=answers({200: ("The adapters, by number.", EXAMPLE)}))
async def list_lora_adapters(request: Request) -> Response:
    """llama.cpp: the numbers of adapters. `path` is a name; the scale is that of a request which names none."""
    found: list[dict[str, Any]] = [
        {"id": number, "path": name, "scale": 0.0}
        for number, name in services_of(request).lora_numbers.listed(visible_to(request))
    ]
    return json_response(found)


@router.post("/lora-adapters", responses=answers({400: "Scales belong to requests."}))
async def set_lora_adapters(request: Request) -> Response:
    """llama.cpp: scales for all requests. They are refused: one client's would change another's answers."""
    message = "Scales are not set for everybody: send 'lora' with each request, or name the adapter in 'model'"
    raise ApiError(400, message, param="scale", code="unsupported_parameter")
