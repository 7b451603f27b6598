"""POST /v1/embeddings."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from loraplex_server.api.schemas.completion import CompletionRequest, Prompts
from loraplex_server.api.schemas.sampling import (
    INT32,
    MAX_ADAPTERS,
    MAX_TIMEOUT_S,
    AdapterWeight,
    LoraScale,
    Number,
    Schema,
    Truncation,
)
from loraplex_server.engine.messages import Pooling

# What says how an input is read, by whom, and how soon.
_SHARED = {
    "model",
    "adapters",
    "lora",
    "add_special_tokens",
    "truncate_prompt_tokens",
    "truncation_side",
    "cache_salt",
    "timeout",
    "priority",
}


class EmbeddingRequest(Schema):
    """OpenAI's fields, and vLLM's names for the rest. A vector has length one unless `normalize` is false."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "reverse", "input": ["jasmine", "tulip"]},
                {"input": "jasmine", "pooling": "mean", "dimensions": 16, "encoding_format": "base64"},
            ]
        }
    )

    model: str = ""
    adapters: list[AdapterWeight] = Field(default=[], max_length=MAX_ADAPTERS)
    lora: list[LoraScale] = Field(default=[], max_length=MAX_ADAPTERS, description="As `adapters`, by number.")
    input: Prompts
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="base64: of 32-bit floats, little end first."
    )
    dimensions: int | None = Field(
        None, ge=1, description="Keep the first so many numbers, of models that were trained so (Matryoshka)."
    )
    pooling: Pooling | None = Field(
        None, description="Of the last layer's hidden states: the last token's, or their mean (default: --pooling)."
    )
    normalize: bool = True
    add_special_tokens: bool = True
    truncate_prompt_tokens: Truncation | None = None
    truncation_side: Literal["left", "right"] = "left"
    cache_salt: str = Field("", min_length=1, max_length=1024)
    timeout: Number | None = Field(None, gt=0.0, le=MAX_TIMEOUT_S)
    priority: int | None = Field(None, ge=-INT32, lt=INT32)

    @model_validator(mode="after")
    def _check_adapters(self) -> EmbeddingRequest:
        names = [adapter.name for adapter in self.adapters]
        if len(set(names)) < len(names):
            raise ValueError("adapters: each may be named once")
        if self.lora and self.adapters:
            raise ValueError("lora: excludes 'adapters'")
        return self

    def completion(self) -> CompletionRequest:
        """The same inputs as prompts that nothing follows."""
        shared = {name: value for name, value in self.model_dump(include=_SHARED).items() if value not in ("", None)}
        return CompletionRequest.model_validate({**shared, "prompt": self.input, "max_tokens": 0, "echo": True})
