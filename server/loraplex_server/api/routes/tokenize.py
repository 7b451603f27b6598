"""POST /tokenize and /detokenize."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from loraplex_server.api.answers.addressee import addressee_of
from loraplex_server.api.body import read_again, read_body, read_json
from loraplex_server.api.document.openapi import answers, json_body
from loraplex_server.api.forms.responses import json_response
from loraplex_server.api.schemas.tokenize import DetokenizeRequest, TokenizeChat, TokenizePrompt
from loraplex_server.api.services import services_of

router = APIRouter()

TOKENS = {"count": 1, "max_model_len": 131_072, "tokens": [9906], "token_strs": None}


@router.post(
    "/tokenize",
    openapi_extra=json_body(TokenizePrompt, TokenizeChat),
    responses=answers({200: ("The tokens.", TOKENS)}),
)
async def tokenize(request: Request) -> Response:
    """Tokens of a prompt, or of messages as the model would read them."""
    services = services_of(request)
    raw = await read_json(request, services.settings.max_body_size)
    body: TokenizePrompt | TokenizeChat
    if "messages" in raw:
        body = await read_again(request, lambda: raw, TokenizeChat)
        to = await addressee_of(request, body.model)
        ids = await to.renderer.encode_chat(body)
    else:
        body = await read_again(request, lambda: raw, TokenizePrompt)
        to = await addressee_of(request, body.model)
        ids = await to.renderer.encode(body.prompt, body.add_special_tokens)
    strings = await to.renderer.token_texts(ids) if body.return_token_strs else None
    context = services.engine_info().max_model_len
    return json_response({"count": len(ids), "max_model_len": context, "tokens": ids, "token_strs": strings})


@router.post(
    "/detokenize",
    openapi_extra=json_body(DetokenizeRequest),
    responses=answers({200: ("The text.", {"prompt": "Hello"})}),
)
async def detokenize(request: Request) -> Response:
    """Text of tokens, special ones included."""
    services = services_of(request)
    body = await read_body(request, DetokenizeRequest, services.settings.max_body_size)
    to = await addressee_of(request, body.model)
    to.limits.check_ids(body.tokens, "tokens")
    (text,) = await to.renderer.decode_all([body.tokens], skip_special_tokens=False)
    return json_response({"prompt": text})
