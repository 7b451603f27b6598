"""The fields that the APIs that generate share."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MAX_FIELDS = 256  # of an object that has fields; no schema has as many
MAX_N = 128
MAX_LOGPROBS = 20
MAX_STOPS = 16
MAX_STOP_TOKENS = 128
MAX_ADAPTERS = 16
MAX_BIASES = 1024
MAX_WEIGHT = 1000.0
MAX_TIMEOUT_S = 86_400
INT64 = 2**63
INT32 = 2**31
PLAIN_ID = r"^[A-Za-z0-9._:/+=@-]{1,128}$"


class Schema(BaseModel):
    """Strict: a number in quotes is not a number. Null means the default wherever there is one."""

    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, body: Any) -> Any:
        if isinstance(body, dict):
            if len(body) > MAX_FIELDS:  # each unknown one is a fault that pydantic would tell of
                raise ValueError(f"has more than {MAX_FIELDS} fields")
            return {name: value for name, value in body.items() if value is not None}
        return body


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _token_ids(value: Any) -> Any:
    """Keys of a JSON object are strings; these stand for token ids."""
    if not isinstance(value, dict):
        return value
    if len(value) > MAX_BIASES:
        raise ValueError(f"must have at most {MAX_BIASES} entries")
    biases = {}
    for key, bias in value.items():
        if not (type(key) is int or (isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 12)):
            raise ValueError(f"the key {str(key)[:20]!r} is no token id")
        biases[int(key)] = bias
    return biases


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be finite")
    return value


def _not_zero(value: int) -> int:
    if value == 0:
        raise ValueError("must be -1 or at least 1")
    return value


Number = Annotated[float, BeforeValidator(_finite)]
Penalty = Annotated[Number, Field(ge=-2.0, le=2.0)]
Stop = Annotated[str, Field(min_length=1)]
Truncation = Annotated[int, Field(ge=-1, lt=INT64), AfterValidator(_not_zero)]


class AdapterWeight(Schema):
    """One adapter of a weighted sum."""

    name: str = Field(min_length=1)
    weight: Number = Field(1.0, ge=-MAX_WEIGHT, le=MAX_WEIGHT)


class LoraScale(Schema):
    """One adapter of a weighted sum, by its number, as llama.cpp has it."""

    id: int = Field(ge=0, lt=INT64, description="Of GET /lora-adapters.")
    scale: Number = Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT)


class StreamOptions(Schema):
    """What a stream tells besides the answer. Padding against eavesdroppers is OpenAI's own, and off."""

    include_usage: bool = False
    continuous_usage_stats: bool = False
    include_obfuscation: Literal[False] = False


class SharedFields(Schema):
    """What every API that generates has: OpenAI's fields, and vLLM's under vLLM's names and defaults."""

    model: str = ""
    adapters: list[AdapterWeight] = Field(default=[], max_length=MAX_ADAPTERS)
    temperature: Number = Field(1.0, ge=0.0, le=100.0)
    top_p: Number = Field(1.0, gt=0.0, le=1.0)
    top_k: int = Field(0, ge=-1)  # 0, -1 and whatever is not less than the vocabulary: off
    min_p: Number = Field(0.0, ge=0.0, le=1.0)
    seed: int | None = Field(None, ge=-INT64, lt=INT64)
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    repetition_penalty: Number = Field(1.0, ge=0.01, le=100.0)
    logit_bias: Annotated[dict[int, Annotated[Number, Field(ge=-100.0, le=100.0)]], BeforeValidator(_token_ids)] = {}
    stop: Annotated[list[Stop], Field(max_length=MAX_STOPS), BeforeValidator(_as_list)] = []
    stop_token_ids: list[Annotated[int, Field(ge=0)]] = Field(default=[], max_length=MAX_STOP_TOKENS)
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    min_tokens: int = Field(0, ge=0)
    skip_special_tokens: bool = True
    stream: bool = False
    timeout: Number | None = Field(
        None,
        gt=0.0,
        le=MAX_TIMEOUT_S,
        description="Seconds for the whole answer: with none of it by then, 408; else it ends with `length`. "
        "The headers x-loraplex-timeout and x-request-timeout do the same.",
    )
    priority: int | None = Field(
        None, ge=-INT32, lt=INT32, description="Lower is earlier; with a key, it can only be later than the key's own."
    )

    @model_validator(mode="after")
    def _check_adapters(self) -> SharedFields:
        names = [adapter.name for adapter in self.adapters]
        if len(set(names)) < len(names):
            raise ValueError("adapters: each may be named once")
        return self


class SamplingFields(SharedFields):
    """What completions and chats share besides."""

    lora: list[LoraScale] = Field(default=[], max_length=MAX_ADAPTERS, description="As `adapters`, by number.")
    n: int = Field(1, ge=1, le=MAX_N)
    cache_salt: str = Field(
        "",
        min_length=1,
        max_length=1024,
        description="Prompts of other salts are not found in the prefix cache.",
    )
    return_token_ids: bool = False
    return_tokens_as_token_ids: bool = Field(False, description="Tokens of log probabilities read `token_id:7`.")
    prompt_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS, description="Of each token of the prompt.")
    truncate_prompt_tokens: Truncation | None = Field(
        None, description="Tokens that are kept of a longer prompt; -1: as many as the context has room for."
    )
    truncation_side: Literal["left", "right"] = Field("left", description="left: the last ones are kept.")
    request_id: str | None = Field(None, pattern=PLAIN_ID, description="What the response's id ends in.")
    service_tier: Literal["auto", "default"] | None = None
    stream_options: StreamOptions | None = None

    @property
    def answers(self) -> int:
        """How many are generated for each prompt."""
        return self.n

    @model_validator(mode="after")
    def _check_lora(self) -> SamplingFields:
        if self.lora and self.adapters:
            raise ValueError("lora: excludes 'adapters'")
        return self

    @model_validator(mode="after")
    def _check_prompt_logprobs(self) -> SamplingFields:
        if self.prompt_logprobs is not None and self.stream:
            raise ValueError("prompt_logprobs: only allowed when 'stream' is false")
        return self

    @model_validator(mode="after")
    def _check_stream_options(self) -> SamplingFields:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: only allowed when 'stream' is true")
        return self
