"""POST /tokenize and /detokenize, as vLLM has them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from loraplex_server.api.schemas.chat import Conversation
from loraplex_server.api.schemas.sampling import Schema


class TokenizePrompt(Schema):
    """Tokens of a text."""

    model: str = ""
    prompt: str
    add_special_tokens: bool = True
    return_token_strs: bool = False


class TokenizeChat(Conversation):
    """Tokens of a conversation, as the model would read it."""

    model: str = ""
    return_token_strs: bool = False


class DetokenizeRequest(Schema):
    """Text of tokens."""

    model: str = ""
    tokens: list[Annotated[int, Field(ge=0)]]
