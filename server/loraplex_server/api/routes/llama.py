"""llama.cpp's own routes: /completion, and /lora-adapters, whose numbers `lora` of any completion or chat takes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from loraplex_server.api.access.visible import visible_to
from loraplex_server.api.answers.complete import complete
from loraplex_server.api.answers.reply import reply
from loraplex_server.api.body import read_body, reading
from loraplex_server.api.document.openapi import answers, json_body
from loraplex_server.api.errors import ApiError
from loraplex_server.api.forms.llama_form import LlamaForm
from loraplex_server.api.forms.responses import json_response
from loraplex_server.api.record import record_of
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.schemas.llama import LlamaRequest
from loraplex_server.api.services import services_of

router = APIRouter()

ANSWER = {
    "index": 0,
    "content": " count(*) FROM users;",
    "tokens": [],
    "id_slot": -1,
    "stop": True,
    "model": "llama-3.2-1b",
    "tokens_predicted": 6,
    "tokens_evaluated": 12,
    "prompt": "SELECT",
    "truncated": False,
    "stop_type": "eos",
    "stopping_word": "",
    "tokens_cached": 0,
}
EVENTS = (
    'data: {"index": 0, "content": " count", "tokens": [1797], "stop": false, "id_slot": -1, "tokens_predicted": 1, '
    '"tokens_evaluated": 12}\n\n'
)
EXAMPLE = [{"id": 0, "path": "reverse", "scale": 0.0}, {"id": 1, "path": "upper", "scale": 0.0}]


@router.post(
    "/completion",
    openapi_extra=json_body(LlamaRequest),
    responses=answers({200: ("The answer, or with `stream` its events.", ANSWER, EVENTS)}),
)
@router.post("/completions", include_in_schema=False)
async def llama_completion(request: Request) -> Response:
    """llama.cpp: complete a prompt, or several."""
    body = await read_body(request, LlamaRequest, services_of(request).settings.max_body_size)
    with reading(CompletionRequest):
        completion = body.completion()
    try:
        found = await complete(request, completion, LlamaForm.new_id(), fill=True)
    except ApiError as error:
        raise body.named(error) from None
    form = LlamaForm(found.to.target.name, body, found.generation, found.to.renderer, record_of(request))
    return await reply(request, found.generation, form, body.stream)


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
