"""LoRAX's /generate, /generate_stream and /embed, and the root path that its client asks."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from loraplex_server.api.answers.complete import complete
from loraplex_server.api.answers.reply import reply
from loraplex_server.api.body import read_body
from loraplex_server.api.document.openapi import answers, json_body, said_as
from loraplex_server.api.forms.embedding_form import EmbeddingForm
from loraplex_server.api.forms.lorax_body import completion_of, embedded
from loraplex_server.api.forms.lorax_form import LoraxForm
from loraplex_server.api.record import record_of
from loraplex_server.api.schemas.lorax import LoraxCompatRequest, LoraxEmbedRequest, LoraxRequest
from loraplex_server.api.services import services_of

router = APIRouter()

EXAMPLE = {"generated_text": " count(*) FROM users;"}
EVENTS = (
    'data: {"token": {"id": 1797, "text": " count", "logprob": -0.25, "special": false, "skipped": false}, '
    '"generated_text": null, "details": null}\n\n'
)


@router.post(
    "/generate",
    openapi_extra=json_body(LoraxRequest),
    responses=answers({200: ("The answer; more of it with `details`.", EXAMPLE)}),
)
async def generate(request: Request) -> Response:
    """LoRAX: complete a text, in one piece."""
    body = await read_body(request, LoraxRequest, services_of(request).settings.max_body_size)
    return await _answer(request, body, stream=False)


@router.post(
    "/generate_stream",
    openapi_extra=json_body(LoraxRequest),
    response_class=Response,
    responses={200: said_as("text/event-stream", "The answer, and in the last event the whole of it.", EVENTS)},
)
async def generate_stream(request: Request) -> Response:
    """LoRAX: complete a text, an event a token."""
    body = await read_body(request, LoraxRequest, services_of(request).settings.max_body_size)
    return await _answer(request, body, stream=True)


@router.post(
    "/",
    openapi_extra=json_body(LoraxCompatRequest),
    responses=answers({200: ("The answer, or with `stream` its events.", [EXAMPLE], EVENTS)}),
)
async def compat_generate(request: Request) -> Response:
    """LoRAX: either, as `stream` says. The whole answer is the one element of a list."""
    body = await read_body(request, LoraxCompatRequest, services_of(request).settings.max_body_size)
    return await _answer(request, body, body.stream, in_list=True)


@router.post(
    "/embed",
    openapi_extra=json_body(LoraxEmbedRequest),
    responses=answers({200: ("The vector.", {"embeddings": [0.0123, -0.0456, 0.0789]})}),
)
async def embed(request: Request) -> Response:
    """LoRAX: the vector of a text, as --pooling makes it."""
    settings = services_of(request).settings
    body = embedded(await read_body(request, LoraxEmbedRequest, settings.max_body_size))
    found = await complete(request, body.completion(), EmbeddingForm.new_id(), pooling=settings.pooling)
    form = EmbeddingForm(found.to.target.name, body, found.generation, bare=True)
    return await reply(request, found.generation, form, stream=False)


async def _answer(request: Request, body: LoraxRequest, stream: bool, *, in_list: bool = False) -> Response:
    found = await complete(request, completion_of(body, stream), LoraxForm.new_id(), fill=True)
    renderer, base = found.to.renderer, services_of(request).names.base
    form = LoraxForm(body, found.generation, renderer, record_of(request), base, in_list=in_list)
    return await reply(request, found.generation, form, stream)
