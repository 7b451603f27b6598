"""POST /tokenize and /detokenize."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from loraplex_server.api.body import parse_body, read_body, read_json
from loraplex_server.api.openapi import json_body
from loraplex_server.api.responses import json_response
from loraplex_server.api.schemas.tokenize import DetokenizeRequest, TokenizeChat, TokenizePrompt
from loraplex_server.api.services import Services, services_of

router = APIRouter()


@router.post("/tokenize", openapi_extra=json_body(TokenizePrompt, TokenizeChat))
async def tokenize(request: Request) -> Response:
    """Tokens of a prompt, or of messages as the model would read them."""
    services = services_of(request)
    raw = await read_json(request, services.settings.max_body_size)
    body: TokenizePrompt | TokenizeChat
    if "messages" in raw:
        body = parse_body(raw, TokenizeChat)
        services.names.resolve(body.model)
        ids = await services.renderer.encode_chat(body)
    else:
        body = parse_body(raw, TokenizePrompt)
        services.names.resolve(body.model)
        ids = await services.renderer.encode(body.prompt, body.add_special_tokens)
    return json_response(_tokens(services, ids, body.return_token_strs))


@router.post("/detokenize", openapi_extra=json_body(DetokenizeRequest))
async def detokenize(request: Request) -> Response:
    """Text of tokens, special ones included."""
    services = services_of(request)
    body = await read_body(request, DetokenizeRequest, services.settings.max_body_size)
    services.names.resolve(body.model)
    services.limits().check_ids(body.tokens, "tokens")
    return json_response({"prompt": services.renderer.decode(body.tokens, skip_special_tokens=False)})


def _tokens(services: Services, ids: list[int], with_strings: bool) -> dict[str, Any]:
    strings = [services.renderer.vocabulary.text(id) for id in ids] if with_strings else None
    return {
        "count": len(ids),
        "max_model_len": services.engine_info().max_model_len,
        "tokens": ids,
        "token_strs": strings,
    }
