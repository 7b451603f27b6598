"""/v1/responses: OpenAI's newer API, over the same conversations, adapters and limits as chats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from loraplex_server.api.answers.addressee import addressee_of
from loraplex_server.api.answers.converse import converse
from loraplex_server.api.answers.logprobs import LogprobFormat
from loraplex_server.api.answers.reply import reply
from loraplex_server.api.body import read_again, read_body
from loraplex_server.api.document.openapi import answers, json_body
from loraplex_server.api.errors import ApiError, bad_request
from loraplex_server.api.forms.input_items import page_of_input
from loraplex_server.api.forms.response_body import ResponseBody
from loraplex_server.api.forms.response_form import ResponseForm
from loraplex_server.api.forms.response_store import StoredResponse
from loraplex_server.api.forms.responses import json_response
from loraplex_server.api.record import record_of
from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.schemas.response_items import AnyItem, parse_items
from loraplex_server.api.schemas.responses import ResponseInput, ResponseRequest
from loraplex_server.api.services import Services, services_of

router = APIRouter()

EXAMPLE = {
    "id": "resp_5c0d6f2f1a7e",
    "object": "response",
    "created_at": 1_790_000_000,
    "status": "completed",
    "model": "sql",
    "output": [
        {
            "id": "msg_5c0d6f2f1a7e_0",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "SELECT count(*) FROM users;", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 21, "output_tokens": 7, "total_tokens": 28},
}
INPUT = {
    "object": "list",
    "data": [
        {
            "id": "msg_5c0d6f2f1a7e_in0",
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "How many users are there?"}],
        }
    ],
    "first_id": "msg_5c0d6f2f1a7e_in0",
    "last_id": "msg_5c0d6f2f1a7e_in0",
    "has_more": False,
}
EVENTS = (
    'event: response.output_text.delta\ndata: {"type": "response.output_text.delta", "sequence_number": 4, "item_id": '
    '"msg_5c0d6f2f1a7e_0", "output_index": 0, "content_index": 0, "delta": "SELECT", "logprobs": []}\n\n'
)


@router.post(
    "/v1/responses",
    openapi_extra=json_body(ResponseRequest),
    responses=answers(
        {
            200: (
                "The response; with `stream`, its events up to response.completed, .incomplete or .failed.",
                EXAMPLE,
                EVENTS,
            ),
            400: "It cannot be served, or `previous_response_id` is not among the stored responses.",
            404: "There is no model or adapter of this name.",
        }
    ),
)
async def create_response(request: Request) -> Response:
    """Answer, with the base or an adapter. Functions are called by the client; there are no tools of the server."""
    services = services_of(request)
    body = await read_body(request, ResponseRequest, services.settings.max_body_size)
    owner = record_of(request).caller.tenant
    before = _before(services, body, owner)
    chat = await read_again(request, lambda: body.chat_fields(before), ChatRequest)
    id = ResponseForm.new_id()
    begun = await converse(request, chat, id)
    stored = body.store and services.responses.capacity > 0

    def keep(answered: dict[str, Any], size: int) -> None:
        if stored:
            output = parse_items(answered["output"])
            services.responses.put(StoredResponse(owner, answered, size, before, body.input, output))

    written = ResponseBody(id, begun.to.target.name, body, stored=stored)
    logprobs = LogprobFormat(begun.to.renderer.vocabulary) if body.wants_logprobs else None
    return await reply(request, begun.generation, ResponseForm(written, begun.generation, logprobs, keep), body.stream)


@router.post(
    "/v1/responses/input_tokens",
    openapi_extra=json_body(ResponseInput),
    responses=answers({200: ("How many.", {"object": "response.input_tokens", "input_tokens": 21})}),
)
async def count_input_tokens(request: Request) -> Response:
    """The tokens that a response to this would read."""
    services = services_of(request)
    body = await read_body(request, ResponseInput, services.settings.max_body_size)
    before = _before(services, body, record_of(request).caller.tenant)
    chat = await read_again(request, lambda: body.chat_fields(before), ChatRequest)
    to = await addressee_of(request, body.model)
    count = len(await to.renderer.encode_chat(chat))
    return json_response({"object": "response.input_tokens", "input_tokens": count})


@router.get("/v1/responses/{id}", responses=answers({200: ("It.", EXAMPLE), 404: "Not stored, or forgotten."}))
async def get_response(request: Request, id: str, stream: bool = False) -> Response:
    """A stored response. Responses are stored in memory: the latest ones, until the server restarts."""
    if stream:
        raise bad_request("'stream': a stored response is given whole", param="stream", code="unsupported_parameter")
    return json_response(services_of(request).responses.get(id, record_of(request).caller.tenant).body)


@router.get(
    "/v1/responses/{id}/input_items",
    responses=answers({200: ("A page of them.", INPUT), 404: "Not stored, or forgotten."}),
)
async def list_input_items(
    request: Request,
    id: str,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """What a stored response was asked, without the conversation that it went on from."""
    stored = services_of(request).responses.get(id, record_of(request).caller.tenant)
    return json_response(page_of_input(stored, after, limit, order))


@router.delete(
    "/v1/responses/{id}",
    responses=answers({200: ("It is gone.", {"id": "resp_5c0d6f2f1a7e", "object": "response", "deleted": True})}),
)
async def delete_response(request: Request, id: str) -> Response:
    """Forget a stored response. Those that go on from it still know their conversation."""
    services_of(request).responses.delete(id, record_of(request).caller.tenant)
    return json_response({"id": id, "object": "response", "deleted": True})


def _before(services: Services, body: ResponseInput, owner: str) -> Sequence[AnyItem]:
    """The conversation that a response goes on from."""
    if body.previous_response_id is None:
        return []
    try:
        return services.responses.get(body.previous_response_id, owner).conversation
    except ApiError as error:
        # As OpenAI has it: what is not found is not what the URL names.
        message = f"Previous {error.message[0].lower()}{error.message[1:]}"
        raise bad_request(message, param="previous_response_id", code="previous_response_not_found") from error
