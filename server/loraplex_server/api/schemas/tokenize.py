"""POST /tokenize and /detokenize, as vLLM has them."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from loraplex_server.api.schemas.chat import Conversation
from loraplex_server.api.schemas.sampling import Schema


class TokenizePrompt(Schema):
    """Tokens of a text."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "sql", "prompt": "Hello"}]})

    model: str = ""
    prompt: str
    add_special_tokens: bool = True
    return_token_strs: bool = False


class TokenizeChat(Conversation):
    """Tokens of a conversation, as the model would read it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "sql", "messages": [{"role": "user", "content": "Hello"}]}]}
    )

    model: str = ""
    return_token_strs: bool = False


class DetokenizeRequest(Schema):
    """Text of tokens."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "sql", "tokens": [9906]}]})

    model: str = ""
    tokens: Annotated[list[Annotated[int, Field(ge=0)]], Field(fail_fast=True)]
