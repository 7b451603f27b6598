"""POST /v1/embeddings."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from loraplex_server.api.addressee import addressee_of_body
from loraplex_server.api.body import read_body
from loraplex_server.api.embedding_form import EmbeddingForm
from loraplex_server.api.jobs import make_generation
from loraplex_server.api.openapi import json_body
from loraplex_server.api.prompts import read_prompts
from loraplex_server.api.record import record_of
from loraplex_server.api.reply import reply
from loraplex_server.api.schemas.embedding import EmbeddingRequest
from loraplex_server.api.services import services_of

router = APIRouter()


@router.post("/v1/embeddings", openapi_extra=json_body(EmbeddingRequest))
async def create_embedding(request: Request) -> Response:
    """A vector for each input, from the base or an adapter: hidden states behind the model's last norm."""
    services = services_of(request)
    body = await read_body(request, EmbeddingRequest, services.settings.max_body_size)
    completion = body.completion()
    to = await addressee_of_body(request, completion)
    to.limits.check_answers(len(completion.prompt))
    prompts = await read_prompts(completion, to.limits, to.renderer)
    parameters = to.limits.completions(completion, [len(prompt.token_ids) for prompt in prompts])
    generation = make_generation(
        services,
        record_of(request),
        to,
        completion,
        EmbeddingForm.new_id(),
        list(zip(prompts, parameters, strict=True)),
        pooling=body.pooling or services.settings.pooling,
    )
    return await reply(request, generation, EmbeddingForm(to.target.name, body, generation), stream=False)
