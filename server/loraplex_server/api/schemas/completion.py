"""POST /v1/completions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from loraplex_server.api.schemas.sampling import MAX_LOGPROBS, MAX_N, SamplingFields
from loraplex_server.api.schemas.structured import ConstrainedFields

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
    if len(value) > MAX_PROMPTS:
        raise ValueError(f"must have at most {MAX_PROMPTS} prompts")
    for item in value:
        if not isinstance(item, str) and not (isinstance(item, list) and all(type(id) is int for id in item)):
            raise ValueError(f"must be {_KINDS}")
    return value


def _false_is_none(value: Any) -> Any:
    return None if value is False else value


Prompts = Annotated[
    list[Any],
    BeforeValidator(_prompts, json_schema_input_type=str | list[str] | list[int] | list[list[int]]),
    Field(min_length=1, max_length=MAX_PROMPTS),
]


class CompletionRequest(SamplingFields, ConstrainedFields):
    """`max_tokens` is 16 unless given, as OpenAI's is. `echo` puts the prompt before the answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "sql", "prompt": "SELECT", "max_tokens": 32, "temperature": 0},
                {"prompt": ["one", "two"], "adapters": [{"name": "sql", "weight": 0.7}, {"name": "terse"}], "seed": 7},
            ]
        }
    )

    prompt: Prompts
    max_tokens: int | None = Field(None, ge=0)
    logprobs: Annotated[Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None, BeforeValidator(_false_is_none)] = None
    best_of: int | None = Field(None, ge=1, le=MAX_N, description="Generate so many, and return the likeliest `n`.")
    echo: bool = False
    add_special_tokens: bool = True

    @model_validator(mode="after")
    def _check_no_tokens(self) -> CompletionRequest:
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens: must be at least 1, or 'echo' must be true")
        return self

    @property
    def answers(self) -> int:
        """See SamplingFields.answers."""
        return self.best_of or self.n

    @model_validator(mode="after")
    def _check_best_of(self) -> CompletionRequest:
        if self.answers < self.n:
            raise ValueError("best_of: must not be less than 'n'")
        if self.answers > self.n and self.stream:
            raise ValueError("best_of: which are the best is known at the end: only allowed when 'stream' is false")
        return self

    @model_validator(mode="after")
    def _check_answers(self) -> CompletionRequest:
        if len(self.prompt) * self.answers > MAX_PROMPTS:
            name, each = ("n", self.n) if self.best_of is None else ("best_of", self.best_of)
            raise ValueError(
                f"{name}: {len(self.prompt)} prompts with {each} each make more than {MAX_PROMPTS} answers"
            )
        return self
