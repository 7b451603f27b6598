"""POST /v1/embeddings."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from loraplex_server.api.answers.complete import complete
from loraplex_server.api.answers.reply import reply
from loraplex_server.api.body import read_body
from loraplex_server.api.document.openapi import answers, json_body
from loraplex_server.api.forms.embedding_form import EmbeddingForm
from loraplex_server.api.schemas.embedding import EmbeddingRequest
from loraplex_server.api.services import services_of

router = APIRouter()

EXAMPLE = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456, 0.0789]}],
    "model": "sql",
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}


@router.post(
    "/v1/embeddings",
    openapi_extra=json_body(EmbeddingRequest),
    responses=answers({200: ("The vectors.", EXAMPLE)}),
)
async def create_embedding(request: Request) -> Response:
    """A vector for each input, from the base or an adapter: hidden states behind the model's last norm."""
    settings = services_of(request).settings
    body = await read_body(request, EmbeddingRequest, settings.max_body_size)
    pooling = body.pooling or settings.pooling
    found = await complete(request, body.completion(), EmbeddingForm.new_id(), pooling=pooling)
    form = EmbeddingForm(found.to.target.name, body, found.generation)
    return await reply(request, found.generation, form, stream=False)
