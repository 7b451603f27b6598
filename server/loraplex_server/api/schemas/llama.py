"""llama.cpp's own POST /completion (tools/server/README.md), with its names and its defaults.

What its samplers have beyond ours is refused unless it is off. Filters look at the probabilities that the temperature
has made, as in OpenAI's and vLLM's servers; llama.cpp applies the temperature last.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from loraplex_server.api.errors import ApiError
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.schemas.sampling import (
    INT64,
    MAX_ADAPTERS,
    MAX_LOGPROBS,
    MAX_N,
    MAX_STOPS,
    LoraScale,
    Number,
    Penalty,
    Schema,
    Stop,
)

ALL_TOKENS = -1
# llama.cpp counts a seed in 32 bits without a sign, so that -1 and this are one (LLAMA_DEFAULT_SEED).
RANDOM_SEEDS = (-1, 2**32 - 1)
# One fault of a list is enough: there may be millions.
Strings = Annotated[list[str], Field(fail_fast=True)]
Ids = Annotated[list[int], Field(fail_fast=True)]
OUR_FORM = "structured_outputs"  # which has both of its ways to say what an answer looks like


def _biases(value: Any) -> Any:
    """`[[id, bias], ...]` as the object that OpenAI has; `false` for a bias means never."""
    if not isinstance(value, list):
        return value
    biases: dict[str, Any] = {}
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) is not int:
            raise ValueError("must be an object, or a list of pairs of a token id and a bias")
        biases[str(pair[0])] = -100.0 if pair[1] is False else pair[1]
    return biases


class LlamaRequest(Schema):
    """POST /completion. Several prompts are answered with a list."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"prompt": "jasmine", "n_predict": 16, "lora": [{"id": 3, "scale": 1.0}]}],
        }
    )

    model: str = ""
    prompt: str | Strings | Ids | Annotated[list[Ids], Field(fail_fast=True)]
    lora: list[LoraScale] = Field(default=[], max_length=MAX_ADAPTERS)
    n_predict: int = Field(-1, ge=-1, description="-1: what is left of the context.")
    n_cmpl: int = Field(1, ge=1, le=MAX_N)
    temperature: Number = Field(0.8, le=100.0)
    top_k: int = 40
    top_p: Number = Field(0.95, ge=0.0, le=1.0)
    min_p: Number = Field(0.05, ge=0.0, le=1.0)
    repeat_penalty: Number = Field(1.0, ge=0.01, le=100.0)
    repeat_last_n: int = Field(64, ge=-1)
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    seed: int = Field(-1, ge=-1, lt=INT64)
    stop: list[Stop] = Field(default=[], max_length=MAX_STOPS)
    ignore_eos: bool = False
    logit_bias: Annotated[dict[str, Any], BeforeValidator(_biases)] = Field(default={})
    grammar: str | None = Field(None, min_length=1, description="GBNF.")
    json_schema: dict[str, Any] | None = None
    n_probs: int = Field(0, ge=0, le=MAX_LOGPROBS)
    return_tokens: bool = False
    stream: bool = False

    @model_validator(mode="after")
    def _check_window(self) -> LlamaRequest:
        penalized = self.repeat_penalty != 1.0 or self.presence_penalty or self.frequency_penalty
        if penalized and self.repeat_last_n != ALL_TOKENS:
            raise ValueError("repeat_last_n: penalties look at all tokens here: send -1")
        return self

    @model_validator(mode="after")
    def _check_form(self) -> LlamaRequest:
        if self.grammar is not None and self.json_schema is not None:
            raise ValueError("grammar: excludes 'json_schema'")
        return self

    @property
    def several(self) -> bool:
        """Whether the answer is a list."""
        return self.n_cmpl > 1 or (isinstance(self.prompt, list) and not all(type(id) is int for id in self.prompt))

    def _form(self) -> dict[str, Any] | None:
        if self.json_schema is not None:
            return {"json": self.json_schema}
        return None if self.grammar is None else {"grammar": self.grammar}

    def named(self, error: ApiError) -> ApiError:
        """An error of the completion by the name that its field has here."""
        if error.param != OUR_FORM:
            return error
        name = "grammar" if self.json_schema is None else "json_schema"
        return ApiError(error.status, error.message.replace(OUR_FORM, name, 1), param=name, code=error.code)

    def completion(self) -> CompletionRequest:
        """The same in our words. Raises pydantic's ValidationError for a bias that is none."""
        return CompletionRequest.model_validate(
            {
                "model": self.model,
                "lora": [each.model_dump() for each in self.lora],
                "prompt": self.prompt,
                "max_tokens": None if self.n_predict == -1 else self.n_predict,
                "n": self.n_cmpl,
                "temperature": max(self.temperature, 0.0),
                "top_k": max(self.top_k, 0),
                "top_p": self.top_p or 1e-9,
                "min_p": self.min_p,
                "repetition_penalty": self.repeat_penalty,
                "presence_penalty": self.presence_penalty,
                "frequency_penalty": self.frequency_penalty,
                "seed": None if self.seed in RANDOM_SEEDS else self.seed,
                "stop": self.stop,
                "ignore_eos": self.ignore_eos,
                "logit_bias": self.logit_bias,
                "logprobs": self.n_probs or None,
                OUR_FORM: self._form(),
                "stream": self.stream,
                "echo": self.n_predict == 0,  # the prompt is computed, and nothing after it
            }
        )
