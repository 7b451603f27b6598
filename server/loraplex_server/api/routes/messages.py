"""/v1/messages: Anthropic's API, over the same conversations, adapters and limits as chats."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from loraplex_server.api.answers.addressee import addressee_of
from loraplex_server.api.answers.converse import converse
from loraplex_server.api.answers.reply import reply
from loraplex_server.api.body import read_again, read_body
from loraplex_server.api.document.openapi import answers, json_body
from loraplex_server.api.forms.message_body import MessageBody
from loraplex_server.api.forms.message_form import MessageForm
from loraplex_server.api.forms.responses import json_response
from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.schemas.messages import MessageInput, MessageRequest
from loraplex_server.api.services import services_of

router = APIRouter()

EXAMPLE = {
    "id": "msg_5c0d6f2f1a7e",
    "type": "message",
    "role": "assistant",
    "model": "sql",
    "content": [{"type": "text", "text": "SELECT count(*) FROM users;"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 16, "output_tokens": 7},
}
EVENTS = (
    'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, '
    '"delta": {"type": "text_delta", "text": "SELECT"}}\n\n'
)


@router.post(
    "/v1/messages",
    openapi_extra=json_body(MessageRequest),
    responses=answers(
        {
            200: ("The message; with `stream`, its events up to message_stop or error.", EXAMPLE, EVENTS),
            400: "It cannot be served.",
            404: "There is no model or adapter of this name.",
        }
    ),
)
async def create_message(request: Request) -> Response:
    """Answer, with the base or an adapter. Tools are run by the client; there are none of the server."""
    services = services_of(request)
    body = await read_body(request, MessageRequest, services.settings.max_body_size)
    chat = await read_again(request, body.chat_fields, ChatRequest)
    id = MessageForm.new_id()
    begun = await converse(request, chat, id, at_most=body.max_tokens)
    filled = begun.max_tokens < body.max_tokens
    written = MessageBody(id, begun.to.target.name, begun.generation, filled=filled)
    return await reply(request, begun.generation, MessageForm(written), body.stream)


@router.post(
    "/v1/messages/count_tokens",
    openapi_extra=json_body(MessageInput),
    responses=answers({200: ("How many.", {"input_tokens": 21})}),
)
async def count_tokens(request: Request) -> Response:
    """The tokens that a message to this would read, those in the cache among them."""
    services = services_of(request)
    body = await read_body(request, MessageInput, services.settings.max_body_size)
    to = await addressee_of(request, body.model)
    chat = await read_again(request, body.chat_fields, ChatRequest)
    return json_response({"input_tokens": len(await to.renderer.encode_chat(chat))})
