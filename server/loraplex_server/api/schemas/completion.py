"""POST /v1/completions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from loraplex_server.api.schemas.sampling import MAX_LOGPROBS, SamplingFields

MAX_PROMPTS = 1024
Prompt = str | list[int]

_KINDS = "a string, a list of strings, a list of token ids or a list of such lists"


def _prompts(value: Any) -> list[Prompt]:
    """The four forms as one: a list of strings and token-id lists."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise ValueError(f"must be {_KINDS}")
    if value and all(type(item) is int for item in value):
        return [value]
    for item in value:
        if not isinstance(item, str) and not (isinstance(item, list) and all(type(id) is int for id in item)):
            raise ValueError(f"must be {_KINDS}")
    return value


def _false_is_none(value: Any) -> Any:
    return None if value is False else value


class CompletionRequest(SamplingFields):
    """`max_tokens` is 16 unless given, as OpenAI's is. `echo` puts the prompt before the answer."""

    prompt: Annotated[
        list[Any],
        BeforeValidator(_prompts, json_schema_input_type=str | list[str] | list[int] | list[list[int]]),
        Field(min_length=1, max_length=MAX_PROMPTS),
    ]
    max_tokens: int | None = Field(None, ge=0)
    logprobs: Annotated[Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None, BeforeValidator(_false_is_none)] = None
    echo: bool = False
    add_special_tokens: bool = True

    @model_validator(mode="after")
    def _check_no_tokens(self) -> CompletionRequest:
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens: must be at least 1, or 'echo' must be true")
        return self

    @model_validator(mode="after")
    def _check_answers(self) -> CompletionRequest:
        if len(self.prompt) * self.n > MAX_PROMPTS:
            raise ValueError(f"n: {len(self.prompt)} prompts with n={self.n} make more than {MAX_PROMPTS} answers")
        return self
