"""POST /v1/chat/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from loraplex_server.api.answers.converse import converse
from loraplex_server.api.answers.reply import reply
from loraplex_server.api.body import read_body
from loraplex_server.api.document.openapi import answers, json_body
from loraplex_server.api.forms.chat_form import ChatForm
from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.services import services_of

router = APIRouter()

EXAMPLE = {
    "id": "chatcmpl-5c0d6f2f1a7e",
    "object": "chat.completion",
    "created": 1_790_000_000,
    "model": "sql",
    "system_fingerprint": "loraplex-0.1.0-5c0d6f2f1a7e",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "SELECT count(*) FROM users;", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
        }
    ],
    "usage": {
        "prompt_tokens": 21,
        "completion_tokens": 7,
        "total_tokens": 28,
        "prompt_tokens_details": {"cached_tokens": 16},
    },
}
EVENTS = (
    'data: {"id": "chatcmpl-5c0d6f2f1a7e", "object": "chat.completion.chunk", "created": 1790000000, "model": "sql", '
    '"choices": [{"index": 0, "delta": {"content": "SELECT"}, "logprobs": null, "finish_reason": null}]}\n\n'
    "data: [DONE]\n\n"
)


@router.post(
    "/v1/chat/completions",
    openapi_extra=json_body(ChatRequest),
    responses=answers({200: ("The answers; with `stream`, chunks up to [DONE].", EXAMPLE, EVENTS)}),
)
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, with the base or an adapter."""
    services = services_of(request)
    body = await read_body(request, ChatRequest, services.settings.max_body_size)
    id = ChatForm.new_id()
    found = await converse(request, body, id)
    form = ChatForm(id, found.to.target.name, body, found.generation, found.to.renderer.vocabulary)
    return await reply(request, found.generation, form, body.stream)
