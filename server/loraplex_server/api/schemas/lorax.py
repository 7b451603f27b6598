"""LoRAX's /generate, /generate_stream and /embed, and the root path that its own client asks.

Bodies as in LoRAX's router (router/src/lib.rs). Its default is the likeliest token: only `do_sample`, or a temperature,
top_k or top_p that asks for something else, samples.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from loraplex_server.api.schemas.sampling import (
    INT64,
    MAX_ADAPTERS,
    MAX_LOGPROBS,
    MAX_N,
    MAX_STOPS,
    MAX_WEIGHT,
    Number,
    Penalty,
    Schema,
    Stop,
)

Weight = Annotated[Number, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT)]


class MergedAdapters(Schema):
    """Several adapters, each with a weight: what they add is added up. `density` is of the other strategies."""

    ids: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, max_length=MAX_ADAPTERS)
    weights: list[Weight] = Field(max_length=MAX_ADAPTERS)
    merge_strategy: Literal["linear"] = Field("linear", description="ties, dare_linear and dare_ties are not served.")
    density: Number = 0.0
    majority_sign_method: Literal["total", "frequency"] = "total"

    @model_validator(mode="after")
    def _check_weights(self) -> MergedAdapters:
        if len(self.weights) != len(self.ids):
            raise ValueError("weights: there must be one for each of 'ids'")
        if len(set(self.ids)) < len(self.ids):
            raise ValueError("ids: each may be named once")
        return self


class LoraxFormat(Schema):
    """What an answer must look like; without a schema, any JSON object."""

    type: Literal["text", "json_object", "json_schema"]
    schema_: dict[str, Any] | None = Field(None, alias="schema")

    @model_validator(mode="after")
    def _check_schema(self) -> LoraxFormat:
        if self.schema_ is None and self.type == "json_schema":
            raise ValueError("schema: is missing")
        if self.schema_ is not None and self.type == "text":
            raise ValueError("schema: of a text")
        return self

    def as_completion(self) -> dict[str, Any]:
        """As `response_format` of /v1/completions."""
        if self.schema_ is None:
            return {"type": self.type}
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": self.schema_}}


class LoraxAdapters(Schema):
    """Who answers. Null is the default everywhere."""

    adapter_id: str = Field("", description="The name of an adapter; empty for the base.")
    adapter_source: Literal["hub", "local", "s3"] | None = Field(
        None, description="Changes nothing: a name stands for one adapter, wherever it came from."
    )
    merged_adapters: MergedAdapters | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_token(cls, body: Any) -> Any:
        """Here and not by its type, so that no message shows it."""
        if isinstance(body, dict) and body.get("api_token") is not None:
            raise ValueError("api_token: is not supported here: adapters are fetched with the server's own credentials")
        return {name: value for name, value in body.items() if name != "api_token"} if isinstance(body, dict) else body

    @model_validator(mode="after")
    def _check_adapters(self) -> LoraxAdapters:
        if self.adapter_id and self.merged_adapters is not None:
            raise ValueError("merged_adapters: excludes 'adapter_id'")
        return self


class LoraxParameters(LoraxAdapters):
    """And how an answer is generated."""

    best_of: int = Field(1, ge=1, le=MAX_N)
    do_sample: bool = False
    temperature: Number | None = Field(None, ge=0.0, le=100.0)
    top_k: int | None = Field(None, gt=0)
    top_p: Number | None = Field(None, gt=0.0, le=1.0)
    typical_p: Annotated[Number, Field(ge=1.0, le=1.0)] = Field(1.0, description="Not served.")
    repetition_penalty: Number = Field(1.0, ge=0.01, le=100.0)
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    max_new_tokens: int | None = Field(None, ge=1, description="Default: what is left of the context.")
    ignore_eos_token: bool = False
    stop: list[Stop] = Field(default=[], max_length=MAX_STOPS)
    truncate: int | None = Field(None, ge=1, lt=INT64, description="Tokens at the prompt's end that are read.")
    seed: int | None = Field(None, ge=0, lt=INT64)
    watermark: Literal[False] = False
    apply_chat_template: Literal[False] = Field(False, description="Ask /v1/chat/completions.")
    return_full_text: bool = False
    details: bool = False
    decoder_input_details: bool = False
    return_k_alternatives: int | None = Field(None, ge=1, le=MAX_LOGPROBS)
    response_format: LoraxFormat | None = None

    @model_validator(mode="after")
    def _check_best_of(self) -> LoraxParameters:
        if self.best_of > 1 and not self.samples:
            raise ValueError("best_of: all answers are the same without 'do_sample', 'temperature', 'top_k' or 'top_p'")
        return self

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn, rather than the likeliest taken."""
        warm = self.temperature not in (None, 0.0, 1.0)
        return self.do_sample or warm or self.top_k is not None or self.top_p not in (None, 1.0)


class LoraxRequest(Schema):
    """POST /generate and /generate_stream."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": "jasmine", "parameters": {"adapter_id": "reverse", "max_new_tokens": 16, "details": True}},
                {"inputs": "Hi", "parameters": {"merged_adapters": {"ids": ["a", "b"], "weights": [0.7, 0.3]}}},
            ]
        }
    )

    inputs: str = Field(min_length=1)
    parameters: LoraxParameters = Field(default_factory=lambda: LoraxParameters.model_validate({}))


class LoraxCompatRequest(LoraxRequest):
    """POST /, which does either."""

    stream: bool = False


class LoraxEmbedRequest(Schema):
    """POST /embed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": "jasmine", "parameters": {"adapter_id": "reverse"}}]}
    )

    inputs: str = Field(min_length=1)
    parameters: LoraxAdapters = Field(default_factory=lambda: LoraxAdapters.model_validate({}))
