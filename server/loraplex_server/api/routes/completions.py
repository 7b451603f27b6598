"""POST /v1/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from loraplex_server.api.answers.complete import complete
from loraplex_server.api.answers.reply import reply
from loraplex_server.api.body import read_body
from loraplex_server.api.document.openapi import answers, json_body
from loraplex_server.api.forms.completion_form import CompletionForm
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.services import services_of

router = APIRouter()

EXAMPLE = {
    "id": "cmpl-5c0d6f2f1a7e",
    "object": "text_completion",
    "created": 1_790_000_000,
    "model": "sql",
    "system_fingerprint": "loraplex-0.1.0-5c0d6f2f1a7e",
    "choices": [
        {"index": 0, "text": " count(*) FROM users;", "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    ],
    "usage": {
        "prompt_tokens": 12,
        "completion_tokens": 6,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 0},
    },
}
EVENTS = (
    'data: {"id": "cmpl-5c0d6f2f1a7e", "object": "text_completion", "created": 1790000000, "model": "sql", "choices": '
    '[{"index": 0, "text": " count", "logprobs": null, "finish_reason": null}]}\n\ndata: [DONE]\n\n'
)


@router.post(
    "/v1/completions",
    openapi_extra=json_body(CompletionRequest),
    responses=answers({200: ("The answers; with `stream`, chunks up to [DONE].", EXAMPLE, EVENTS)}),
)
async def create_completion(request: Request) -> Response:
    """Complete one or several prompts, with the base or an adapter."""
    body = await read_body(request, CompletionRequest, services_of(request).settings.max_body_size)
    id = CompletionForm.new_id()
    found = await complete(request, body, id)
    form = CompletionForm(id, found.to.target.name, body, found.generation, found.to.renderer)
    return await reply(request, found.generation, form, body.stream)
